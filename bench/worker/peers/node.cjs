// BullMQ for Node as it comes (ioredis, its own defaults); the commands are those of harness.py.
'use strict';
const fs = require('fs');
const { Queue, Worker } = require('bullmq');

const IN_FLIGHT = 50;
const BULK = 500;
const env = process.env;
const connection = { host: '127.0.0.1', port: Number(env.BENCH_PORT) };
if (env.BENCH_CA) connection.tls = { ca: fs.readFileSync(env.BENCH_CA) };
const opts = { removeOnComplete: true, removeOnFail: true };
const now = () => process.hrtime.bigint();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function marks() {
  const file = fs.openSync(env.BENCH_REPORT || '/dev/null', 'a');
  const warm = Number(env.BENCH_WARM || 0);
  const count = Number(env.BENCH_COUNT || 0);
  const edges = new Set([1, warm, warm + count]);
  let number = 0;
  if (!count) return (at) => fs.writeSync(file, `[${at},${now()}]\n`);
  return () => {
    number += 1;
    if (!edges.has(number)) return;
    const used = process.cpuUsage();
    const line = `{"job":${number},"ns":${now()},"cpu_ns":${(used.user + used.system) * 1000}`;
    fs.writeSync(file, `${line},"rss":${process.memoryUsage.rss()}}\n`);
  };
}

function work(concurrency) {
  const hit = marks();
  const ms = Number(env.BENCH_TASK_MS || 0);
  const task = async (job) => {
    hit(job.data.at);
    if (ms) await sleep(ms);
  };
  const limits = JSON.parse(env.BENCH_LIMITS || '{"bench":{}}');
  for (const [queue, limiter] of Object.entries(limits)) {
    const worker = new Worker(queue, task, { connection, concurrency, ...limiter });
    worker.on('error', (error) => console.error(error));
  }
}

async function pace(queue, number, everyMs) {
  const start = performance.now();
  for (let index = 0; index < number; index += 1) {
    const wait = start + (index + Math.random() * 0.5) * everyMs - performance.now();
    if (wait > 0) await sleep(wait);
    await queue.add('job', { at: Number(now()) }, opts);
  }
}

async function delay(queue, number, withinMs) {
  for (let index = 0; index < number; index += 1) {
    const ms = 50 + Math.floor(Math.random() * (withinMs - 50));
    await queue.add('job', { at: Number(now()) + ms * 1e6 }, { ...opts, delay: ms });
  }
}

const fill = (queue, number) => queue.addBulk(Array(number).fill({ name: 'job', data: { at: 0 }, opts }));

async function enqueue(queue, mode, seconds) {
  const start = performance.now();
  let added = 0;
  const oneAfterAnother = async () => {
    while (performance.now() < start + seconds * 1000) {
      if (mode === 'bulk') await fill(queue, BULK);
      else await queue.add('job', { at: 0 }, opts);
      added += mode === 'bulk' ? BULK : 1;
    }
  };
  await Promise.all(Array.from({ length: mode === 'inflight' ? IN_FLIGHT : 1 }, oneAfterAnother));
  return (added * 1000) / (performance.now() - start);
}

async function produce(action, ...words) {
  const [first, second] = words;
  const queue = new Queue('bench', { connection });
  if (action === 'fill') for (let left = Number(first); left > 0; left -= BULK) await fill(queue, Math.min(BULK, left));
  else if (action === 'pace') {
    for (let at = 0; at < words.length; at += 2) await pace(queue, Number(words[at]), Number(words[at + 1]));
  } else if (action === 'delay') {
    await pace(queue, Number(first), 10);
    await delay(queue, Number(second), Number(words[2]));
  } else if (action === 'enqueue') {
    await enqueue(queue, first, Number(second) / 5); // to warm up
    console.log(await enqueue(queue, first, Number(second)));
  } else throw new Error(`${action} is not one of work, fill, pace, delay and enqueue`);
  await queue.close();
}

const [action, ...rest] = process.argv.slice(2);
if (action === 'work') work(Number(rest[0]));
else if (action === 'version') console.log(JSON.stringify({ node: process.versions.node, bullmq: require('bullmq/package.json').version, ioredis: require('ioredis/package.json').version }));
else produce(action, ...rest).catch((error) => { console.error(error); process.exit(1); });
