"""A pack that looks at its surroundings: copied into the custom_nodes folder of servers whose keys separate."""

from __future__ import annotations

import json
import os
import threading
import time

import folder_paths
from aiohttp import web

import nodes
from server import PromptServer


class ProbeFiles:
    """Tells what a node of a pack sees: its folders, in the node and in a thread, the files it lists, the history."""

    RETURN_TYPES = ()
    FUNCTION = "look"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    def __init__(self) -> None:
        self.kept = folder_paths.get_output_directory()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": (sorted(os.listdir(folder_paths.get_input_directory())),)}}

    def look(self, file):
        seen: dict[str, object] = {"kept": self.kept, "attribute": folder_paths.output_directory}
        thread = threading.Thread(target=lambda: seen.update(thread=folder_paths.get_output_directory()))
        thread.start()
        thread.join()
        seen["path"] = folder_paths.get_annotated_filepath(file)
        seen["history"] = list(PromptServer.instance.prompt_queue.get_history())
        PromptServer.instance.send_sync("probe.told", {"file": file})
        return {"ui": {"seen": [json.dumps(seen)]}}


class ProbeWait:
    """Waits until it is stopped."""

    RETURN_TYPES = ()
    FUNCTION = "wait"
    OUTPUT_NODE = True
    CATEGORY = "probe"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"note": ("STRING", {"default": ""})}}

    def wait(self, note):
        while True:
            nodes.before_node_execution()
            time.sleep(0.005)


@PromptServer.instance.routes.get("/probe/history")
async def tell_all(request):
    """What a pack's route can tell: everybody's history."""
    return web.json_response(PromptServer.instance.prompt_queue.get_history())


NODE_CLASS_MAPPINGS = {"ProbeFiles": ProbeFiles, "ProbeWait": ProbeWait}
