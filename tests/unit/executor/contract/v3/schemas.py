"""V3 classes made of a function, for tests."""

from __future__ import annotations

from executor.contract.v3 import io


def v3_class(name, execute, inputs=(), outputs=(), **more) -> type[io.ComfyNode]:
    """A V3 class; what is callable in `more` becomes a class method, the rest fields of its schema."""
    methods = {key: classmethod(value) for key, value in more.items() if callable(value)}
    fields = {key: value for key, value in more.items() if not callable(value)}

    def define_schema(cls):
        return io.Schema(node_id=name, inputs=list(inputs), outputs=list(outputs), **fields)

    body = {"define_schema": classmethod(define_schema), "execute": classmethod(execute), **methods}
    return type(io.ComfyNode)(name, (io.ComfyNode,), body)


def nothing(cls, **inputs):
    return io.NodeOutput()


def seen(name="See", inputs=(), **more):
    """An output node that shows the arguments it is called with, as text."""

    def execute(cls, **arguments):
        return io.NodeOutput(ui={"text": [repr(arguments)]})

    return v3_class(name, execute, inputs, is_output_node=True, **more)
