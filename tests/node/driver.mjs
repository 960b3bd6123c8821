// BullMQ for Node at the command of a test: one JSON object a line on stdin, one a line on stdout.
//
//   {"id": 1, "do": "queue", "queue": "q", "method": "add", "args": ["name", {}]}  ->  {"id": 1, "value": {...}}
//                                                                              or  {"id": 1, "error": {...}}
// What workers and listeners see comes without being asked: {"note": "ran", "queue": "q", ...}. An object
// {"$": "undefined"} among the arguments stands for what JSON cannot say. The process ends with its stdin.
import { createInterface } from 'node:readline';
import { FlowProducer, Job, Queue, QueueEvents, Worker, defaultRepeatStrategy } from 'bullmq';
import IORedis from 'ioredis';
import { processors } from './processors.mjs';

const port = Number(process.argv[2]);
const connectionOptions = { host: '127.0.0.1', port, maxRetriesPerRequest: null };
let connection = new IORedis(connectionOptions);
const queues = new Map();
const workers = new Map();
const listeners = new Map();
let flowProducer;

const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const note = (kind, about) => say({ note: kind, ...about });
const unsayable = { undefined, NaN, Infinity };

function queueOf(name) {
  if (!queues.has(name)) {
    queues.set(name, new Queue(name, { connection }));
  }
  return queues.get(name);
}

function listenerOf(name) {
  if (!listeners.has(name)) {
    throw new Error(`nobody listens to ${name}`);
  }
  return listeners.get(name);
}

function flows() {
  flowProducer ??= new FlowProducer({ connection });
  return flowProducer;
}

function jobAsData(job) {
  const fields = ['id', 'name', 'data', 'opts', 'progress', 'returnvalue', 'failedReason', 'stacktrace', 'attemptsMade'];
  fields.push('attemptsStarted', 'stalledCounter', 'delay', 'priority', 'timestamp', 'processedOn', 'finishedOn');
  fields.push('deduplicationId', 'parentKey', 'repeatJobKey', 'processedBy');
  return Object.fromEntries(fields.map((field) => [field, job[field]]));
}

function asData(value) {
  if (value instanceof Job) {
    return jobAsData(value);
  }
  if (Array.isArray(value)) {
    return value.map(asData);
  }
  if (value && value.job instanceof Job) {
    return { job: asData(value.job), children: asData(value.children ?? []) };
  }
  return value ?? null;
}

function revived(value) {
  if (Array.isArray(value)) {
    return value.map(revived);
  }
  if (value && typeof value === 'object') {
    if ('$' in value) {
      return unsayable[value.$];
    }
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revived(inner)]));
  }
  return value;
}

async function startWorker({ worker: handle, queue, processor, options }) {
  const run = processors[processor];
  if (!run) {
    throw new Error(`no processor ${processor}`);
  }
  const process = (job, token) => {
    note('ran', { worker: handle, queue, at: Date.now(), job: jobAsData(job) });
    return run(job, token, { queueOf });
  };
  const worker = new Worker(queue, process, { connection: connectionOptions, ...options });
  workers.set(handle, worker);
  worker.on('completed', (job, result) => note('completed', { worker: handle, queue, jobId: job.id, result: result ?? null }));
  worker.on('failed', (job, error) => note('failed', { worker: handle, queue, jobId: job?.id, reason: error.message }));
  worker.on('stalled', (jobId) => note('stalled', { worker: handle, queue, jobId }));
  worker.on('error', (error) => note('error', { worker: handle, queue, reason: error.message }));
  await worker.waitUntilReady();
}

async function listen({ queue }) {
  // From the beginning: what is published before its first read would be lost otherwise.
  const listener = new QueueEvents(queue, { connection: connectionOptions, lastEventId: '0' });
  listeners.set(queue, listener);
  const names = ['active', 'added', 'cleaned', 'completed', 'deduplicated', 'delayed', 'drained', 'duplicated'];
  names.push('failed', 'paused', 'progress', 'removed', 'resumed', 'retries-exhausted', 'stalled', 'waiting');
  names.push('waiting-children');
  for (const name of names) {
    listener.on(name, (about) => note('event', { queue, event: name, about }));
  }
  await listener.waitUntilReady();
}

async function reset() {
  const open = [...workers.values(), ...listeners.values(), ...queues.values()];
  workers.clear();
  listeners.clear();
  queues.clear();
  if (flowProducer) {
    open.push(flowProducer);
    flowProducer = undefined;
  }
  await Promise.all(open.map((one) => one.close(one instanceof Worker)));
  // A connection remembers which scripts the server has; another test may have made the server forget them.
  connection.disconnect();
  connection = new IORedis(connectionOptions);
  await connection.ping();
}

// Adds one job after the other and tells of each what was thrown, null where it was added.
async function refusals({ queue, jobs }) {
  const outcome = [];
  for (const { name, data, opts } of jobs) {
    outcome.push(
      await queueOf(queue)
        .add(name, data, opts)
        .then(() => null)
        .catch((error) => error.message),
    );
  }
  return outcome;
}

const commands = {
  queue: ({ queue, method, args }) => queueOf(queue)[method](...args),
  flow: ({ method, args }) => flows()[method](...args),
  job: async ({ queue, job, method, args }) => {
    const found = await Job.fromId(queueOf(queue), job);
    return method ? found[method](...args) : found;
  },
  waitUntilFinished: async ({ queue, job, ms }) => {
    const found = await Job.fromId(queueOf(queue), job);
    return found.waitUntilFinished(listenerOf(queue), ms);
  },
  listen,
  worker: startWorker,
  'worker-call': ({ worker, method, args }) => workers.get(worker)[method](...args),
  refusals,
  nextOfPattern: ({ cases }) => cases.map(({ ms, repeat }) => defaultRepeatStrategy(ms, repeat)),
  reset,
};

async function obey(line) {
  const { id, do: what, ...about } = JSON.parse(line);
  try {
    say({ id, value: asData(await commands[what](revived(about))) });
  } catch (error) {
    say({ id, error: { name: error.name, message: error.message } });
  }
}

await connection.ping();
say({ ready: process.version });
createInterface({ input: process.stdin })
  .on('line', obey)
  .on('close', () => process.exit(0));
