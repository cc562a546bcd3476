// A client for Node.js with fetch and a websocket: follows a prompt and keeps the previews and the picture.
//
// Run it beside a server (`make run`):  node examples/node_client.mjs [--url URL] [--folder FOLDER]
// The key of a server that asks for one is read from the environment: WEFT_TOKEN.
// Node.js 22 brings WebSocket along; Node.js 20 has it behind --experimental-websocket, others take it from `npm i ws`.

import { readFile, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import path from "node:path";
import { parseArgs } from "node:util";

const { server, folder } = told();
const Socket = globalThis.WebSocket ?? (await import("ws")).default;
const token = process.env.WEFT_TOKEN;
const key = token ? { Authorization: `Bearer ${token}` } : {};
const PREVIEW = 1; // first big-endian number of a binary frame; the second tells the form of the picture
const ENDINGS = { 1: "jpg", 2: "png" };
const CLOSED = `The server at ${server} answers, but opens no websocket.`;

/** What the command line says. */
function told() {
  const text = { type: "string" };
  try {
    const { values } = parseArgs({ options: { url: text, folder: text } });
    return { server: (values.url ?? "http://127.0.0.1:8188").replace(/\/+$/, ""), folder: values.folder ?? "." };
  } catch (error) {
    return leave(error);
  }
}

/** End with a sentence. */
function leave(error) {
  console.error(error.message);
  process.exit(1);
}

/** Open the websocket and wait for its first frame. */
function connect(clientId) {
  const socket = new Socket(`${server.replace(/^http/, "ws")}/ws?clientId=${clientId}`, { headers: key });
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.addEventListener("open", () => resolve(socket));
    socket.addEventListener("error", () => ask("/prompt").then(() => reject(new Error(CLOSED)), reject));
  });
}

/** Fetch with the key; what hinders it is told in a sentence. A websocket's error tells none, a request does. */
async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(`${server}${address}`, { ...options, headers: { ...options.headers, ...key } });
  } catch (error) {
    if (error.cause?.code !== "ECONNREFUSED") throw new Error(`${server}: ${error.cause?.message ?? error.message}`);
    throw new Error(`No server answers at ${server}: start one with \`make run\`, or give its address by --url.`);
  }
  if (response.status === 401 || response.status === 403) {
    const advice = "give it as WEFT_TOKEN in the environment.";
    throw new Error(`The server at ${server} asks for a key that may do this: ${advice}`);
  }
  return response;
}

/** Put a graph into the queue; the id of the prompt. */
async function submit(graph, clientId) {
  const response = await ask("/prompt", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt: graph, client_id: clientId }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`the server refused the graph: ${JSON.stringify(answer)}`);
  return answer.prompt_id;
}

/** Read frames until the prompt that `started` names ends; the pictures that it saved. */
function follow(socket, started) {
  const images = [];
  const writes = [];
  let previews = 0;
  return new Promise((resolve, reject) => {
    socket.addEventListener("close", () => reject(new Error("the server closed the connection")));
    socket.addEventListener("message", async ({ data: frame }) => {
      if (typeof frame !== "string") {
        const view = new DataView(frame);
        if (view.getUint32(0) === PREVIEW) {
          previews += 1;
          const name = `preview_${String(previews).padStart(2, "0")}.${ENDINGS[view.getUint32(4)]}`;
          writes.push(writeFile(path.join(folder, name), new Uint8Array(frame, 8)));
        }
        return;
      }
      const { type, data } = JSON.parse(frame);
      if (data.prompt_id !== undefined && data.prompt_id !== (await started)) return;
      if (type === "progress") console.log(`step ${data.value} of ${data.max}`);
      else if (type === "executed") images.push(...(data.output?.images ?? []));
      else if (type === "execution_error") reject(new Error(`${data.node_type}: ${data.exception_message}`));
      else if (type === "execution_interrupted") reject(new Error(`somebody stopped the prompt at ${data.node_type}`));
      else if (type === "executing" && data.node === null) {
        await Promise.all(writes);
        console.log(`done, ${previews} preview(s)`);
        resolve(images);
      }
    });
  });
}

/** Fetch one picture into the folder. */
async function download(image) {
  const { filename, subfolder, type } = image;
  const response = await ask(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
  if (!response.ok) throw new Error(`${filename}: ${response.status}`);
  const target = path.join(folder, filename);
  await writeFile(target, Buffer.from(await response.arrayBuffer()));
  console.log(`Saved ${target}`);
}

/** Draw one picture and say where it lies. */
async function draw() {
  const graph = JSON.parse(await readFile(new URL("text_to_image.json", import.meta.url), "utf-8"));
  const clientId = randomUUID();
  const socket = await connect(clientId);
  const started = submit(graph, clientId);
  const [images] = await Promise.all([follow(socket, started), started]);
  for (const image of images) await download(image);
  socket.close();
}

await draw().catch(leave);
