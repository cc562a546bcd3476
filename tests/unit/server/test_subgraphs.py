"""/global_subgraphs: what packs bring."""

from __future__ import annotations


async def test_nothing_without_packs(stand):
    assert await (await stand.get("/api/global_subgraphs")).json() == {}


async def test_packs_subgraphs_are_listed_and_shown(stand):
    folder = stand.base / "custom_nodes" / "pack" / "subgraphs"
    folder.mkdir(parents=True)
    (folder / "blur.json").write_text('{"nodes": []}')
    ((key, shown),) = (await (await stand.get("/global_subgraphs")).json()).items()
    assert shown == {"source": "custom_node", "name": "blur", "info": {"node_pack": "pack"}}
    whole = await (await stand.get(f"/global_subgraphs/{key}")).json()
    assert whole == {**shown, "data": '{"nodes": []}'}


async def test_unknown_subgraph_is_null(stand):
    answer = await stand.get("/global_subgraphs/unknown")
    assert (answer.status, await answer.json()) == (200, None)
