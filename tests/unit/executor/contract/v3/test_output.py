"""What V3 nodes return, and the locked classes they are called on (reference/execution.md section 14)."""

from __future__ import annotations

import pytest

from executor.contract.blocker import ExecutionBlocker
from executor.contract.v3 import io
from executor.contract.v3.node import locked, output_of
from executor.contract.v3.output import ui_of
from tests.unit.executor.contract.v3.schemas import nothing, v3_class

NODE = v3_class("Node", nothing, outputs=[io.Int.Output("a"), io.Int.Output("b")])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (io.NodeOutput(1, 2), (1, 2)),
        ((1, 2), (1, 2)),
        (None, ()),
        ({"result": [1, 2], "ui": {"text": ["t"]}}, (1, 2)),
        ({"ui": {"text": ["t"]}}, ()),
    ],
)
def test_results_become_outputs(result, expected):
    assert output_of(result, NODE).args == expected


def test_blocker_blocks_every_output():
    blocker = ExecutionBlocker("no")
    assert output_of(blocker, NODE).args == (blocker, blocker)


def test_message_makes_a_blocker():
    assert io.NodeOutput(block_execution="no").blocker.message == "no"


def test_blocker_in_a_dict_blocks():
    assert output_of({"result": ExecutionBlocker(None)}, NODE).blocker.message is None


def test_other_results_are_refused():
    with pytest.raises(TypeError, match="Node returned int"):
        output_of(3, NODE)


def test_graph_needs_the_schema_s_leave():
    with pytest.raises(ValueError, match="enable_expand"):
        output_of(io.NodeOutput(expand={}), NODE)


def test_outputs_can_be_read_by_index():
    output = io.NodeOutput(1, 2)
    assert (output[1], output.result, io.NodeOutput().result) == (2, (1, 2), None)


def test_ui_object_becomes_a_dict():
    class Shown:
        def as_dict(self):
            return {"text": ("t",)}

    assert ui_of(Shown()) == {"text": ("t",)}
    assert ui_of(None) is None
    with pytest.raises(TypeError, match="not str"):
        ui_of("t")


def test_locked_class_keeps_no_state():
    with pytest.raises(AttributeError, match="keeps no state"):
        locked(NODE).seen = 1


def test_open_class_may_be_changed():
    cls = v3_class("Node", nothing)
    cls.seen = 1
    assert locked(cls).seen == 1


def test_hidden_values_stand_on_the_locked_class():
    hidden = locked(NODE, {"unique_id": "7"}).hidden
    assert (hidden.unique_id, hidden.prompt) == ("7", None)


def test_hidden_values_of_two_calls_do_not_mix():
    first, second = locked(NODE, {"unique_id": "1"}), locked(NODE, {"unique_id": "2"})
    assert (first.hidden.unique_id, second.hidden.unique_id) == ("1", "2")


def test_nodes_call_each_other_as_functions():
    cls = v3_class("Node", lambda cls, a: (a + 1,), outputs=[io.Int.Output()])
    assert cls.execute(1) == (2,)
    assert getattr(cls(), cls.FUNCTION)(a=1)[0] == 2


def test_calls_without_hidden_values_share_one_clone_per_class():
    child = type(NODE)("Child", (NODE,), {})
    assert locked(NODE) is locked(NODE, {})
    assert locked(child) is not locked(NODE)
    assert issubclass(locked(child), child)


def test_class_that_prepares_its_subclasses_can_be_locked():
    def prepare(cls, **more):
        cls.prepared = True

    cls = type(NODE)("Prepares", (NODE,), {"__init_subclass__": classmethod(prepare)})
    assert locked(cls, {"unique_id": "1"}).prepared
