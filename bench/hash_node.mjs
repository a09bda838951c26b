// hash_node.mjs: @node-rs/argon2 for bench_hash --node. One hash for each line on stdin, its
// milliseconds as a line on stdout. Needs `npm install @node-rs/argon2` where node finds it.
//
//     node bench/hash_node.mjs MEMORY_KIB ITERATIONS
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// From the working directory: the package need not be installed next to this file.
const { Algorithm, hashRawSync } = createRequire(`${process.cwd()}/`)("@node-rs/argon2");

const options = {
  algorithm: Algorithm.Argon2id,
  memoryCost: Number(process.argv[2]),
  timeCost: Number(process.argv[3]),
  parallelism: 1,
  outputLen: 32,
  salt: Buffer.from("saltsaltsaltsalt"),
};

const hash = () => {
  const before = process.hrtime.bigint();
  hashRawSync("correct horse battery staple", options);
  return Number(process.hrtime.bigint() - before) / 1e6;
};

hash(); // the first one pays for loading
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  void line;
  console.log(hash().toFixed(3));
}
