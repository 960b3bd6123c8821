// What the workers on this side do with a job; each gets the job, its token and a function that notes.
import { DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError } from 'bullmq';

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export const processors = {
  echo: async (job) => ({ of: job.data }),

  nothing: async () => undefined,

  // Runs for data.ms milliseconds.
  slow: async (job) => {
    await sleep(job.data.ms);
    return 'slow';
  },

  // Never ends by itself; its process is killed.
  hang: () => new Promise(() => setInterval(() => {}, 1000)),

  // Fails until attempt data.succeedsAt.
  fails: async (job) => {
    if (job.attemptsMade + 1 < job.data.succeedsAt) {
      throw new Error(`try ${job.attemptsMade + 1}: žluť`);
    }
    return 'at last';
  },

  unrecoverable: async () => {
    throw new UnrecoverableError('there is no such thing');
  },

  // Publishes every element of data.progress and writes every line of data.lines.
  tells: async (job) => {
    for (const progress of job.data.progress ?? []) {
      await job.updateProgress(progress);
    }
    for (const line of job.data.lines ?? []) {
      await job.log(line);
    }
    return job.data.result;
  },

  rewrites: async (job) => {
    await job.updateData({ ...job.data, step: (job.data.step ?? 0) + 1 });
    if (job.data.step < 2) {
      throw new Error(`step ${job.data.step}`);
    }
    return job.data;
  },

  children: async (job) => ({ values: await job.getChildrenValues(), ignored: await job.getIgnoredChildrenFailures() }),

  // Comes back once, data.ms milliseconds later.
  postpones: async (job, token) => {
    if (job.data.step === undefined) {
      await job.updateData({ ...job.data, step: 1 });
      await job.moveToDelayed(Date.now() + job.data.ms, token);
      throw new DelayedError();
    }
    return 'later';
  },

  // Adds a child to queue data.child at the first run and returns what it made at the second one.
  waitsForChild: async (job, token, { queueOf }) => {
    if (job.data.step === undefined) {
      await queueOf(job.data.child).add('child', { n: 1 }, { parent: { id: job.id, queue: job.queueQualifiedName } });
      await job.updateData({ ...job.data, step: 1 });
    }
    if (await job.moveToWaitingChildren(token)) {
      throw new WaitingChildrenError();
    }
    return Object.values(await job.getChildrenValues());
  },

  rateLimits: async (job, token, { queueOf }) => {
    if (job.data.step === undefined) {
      await job.updateData({ ...job.data, step: 1 });
      await queueOf(job.queueName).rateLimit(job.data.ms);
      throw new RateLimitError();
    }
    return 'let through';
  },
};
