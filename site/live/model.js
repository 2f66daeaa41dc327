// The exported model: the graphs of `varlite export`, run by onnxruntime-web on one thread. What each graph takes and
// gives stands in model.json; varlite/export/onnx_player.py is the same in Python.

import * as ort from "./ort/ort.wasm.min.mjs";

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  return answer;
}

/** The runtime, 14 MB, comes as 4 MB of gzip whatever the server does; its name keeps servers from unpacking it. */
async function prepareRuntime() {
  const packed = (await fetched("ort/ort-wasm-simd-threaded.wasm.packed")).body;
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  ort.env.wasm.wasmBinary = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Opens the model in `folder`; `onProgress(share)` is called as its graphs get ready. */
export async function openModel(folder, onProgress = () => {}) {
  const runtime = prepareRuntime();
  const about = await (await fetched(`${folder}/model.json`)).json();
  const names = Object.keys(about.graphs);
  const files = [about.weights, ...names.map((name) => `${name}.onnx`)];
  const bytes = await Promise.all(
    files.map(async (file) => new Uint8Array(await (await fetched(`${folder}/${file}`)).arrayBuffer())),
  );
  const [weights, ...graphs] = bytes;
  await runtime;
  const sessions = {};
  for (const [i, name] of names.entries()) {
    const externalData = [{ path: about.weights, data: weights }];
    sessions[name] = await ort.InferenceSession.create(graphs[i], { externalData });
    onProgress((i + 1) / names.length);
  }
  return new Model(about, sessions);
}

const codes = (list) => new ort.Tensor("int64", BigInt64Array.from(list, BigInt), [list.length]);

/** A tensor with its batch repeated. */
function repeated(tensor, times) {
  const { data, dims } = tensor;
  const all = new Float32Array(times * data.length);
  for (let i = 0; i < times; i++) all.set(data, i * data.length);
  return new ort.Tensor("float32", all, [times * dims[0], ...dims.slice(1)]);
}

class Model {
  constructor(about, sessions) {
    this.about = about;
    this.sessions = sessions;
    this.scales = about.scales; // [[h, w]], coarse to fine
    this.classes = about.classes;
    this.vocab = about.vocab;
  }

  async run(name, ...inputs) {
    const { inputs: ins, outputs } = this.about.graphs[name];
    const given = await this.sessions[name].run(Object.fromEntries(ins.map((input, i) => [input, inputs[i]])));
    return outputs.map((output) => given[output]);
  }

  /** The latent map before the first scale. */
  empty() {
    const dims = [1, ...this.about.f_hat];
    return new ort.Tensor("float32", new Float32Array(dims.reduce((a, b) => a * b)), dims);
  }

  async condition(labels) {
    return (await this.run("condition", codes(labels)))[0];
  }

  /** Logits of scale k for each label of the condition, and the cache after it. */
  async step(k, cond, x, cache) {
    const [logits, ...after] = await this.run(`step-${k}`, cond, ...(x ? [repeated(x, cond.dims[0])] : []), ...cache);
    return { logits: logits.data, cache: after };
  }

  /** The latent map after scale k, and the input of the next scale. `tokens` may be several choices for the same map. */
  async add(k, fHat, ...choices) {
    const [h] = await this.run("embed", codes(choices.flat()));
    const n = choices.length;
    const embedded = new ort.Tensor("float32", h.data, [n, choices[0].length, h.dims[1]]);
    const [after, x] = await this.run(`add-${k}`, n > 1 ? repeated(fHat, n) : fHat, embedded);
    return { fHat: after, x };
  }

  /** Pictures in [-1, 1], one for each latent map: [Float32Array]. */
  async decode(fHat) {
    const [image] = await this.run("decode", fHat);
    const size = image.data.length / image.dims[0];
    return Array.from({ length: image.dims[0] }, (_, i) => image.data.slice(i * size, (i + 1) * size));
  }
}
