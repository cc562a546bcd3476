"""Which paths there are."""

from __future__ import annotations

from server.routes import ALL, BARE


def paths(app):
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}


async def test_every_route_has_its_twin(stand):
    there = paths(stand.client.app)
    for table in ALL:
        for route in table:
            assert (route.method, "/api" + route.path.replace(":.*", "")) in there


async def test_internal_routes_have_none(stand):
    there = paths(stand.client.app)
    assert not [route for table in BARE for route in table if (route.method, "/api" + route.path) in there]
