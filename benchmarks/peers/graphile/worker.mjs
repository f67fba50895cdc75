// graphile-worker in a process of its own: `node worker.mjs install|work DSN [CONCURRENCY]`.
//
// `work` says "ready" once all is imported, and begins at the first line that it is sent. Each line
// that it prints then has, for some jobs, how long they were on their way, in seconds. It ends when
// its standard input does.

import { createInterface } from "node:readline";
import { Logger, run, runMigrations } from "graphile-worker";

const [command, connectionString, concurrency] = process.argv.slice(2);
const silent = { error: console.error, warning: console.error, info() {}, debug() {} };

async function work() {
  const lines = createInterface({ input: process.stdin });
  console.log("ready");
  await new Promise((resolve) => lines.once("line", resolve));
  let waited = [];
  // A line for each job would cost more than the job. Who reads looks whether all is done at each.
  const printing = setInterval(() => {
    console.log(JSON.stringify(waited));
    waited = [];
  }, 2);
  const runner = await run({
    connectionString,
    concurrency: Number(concurrency),
    noHandleSignals: true,
    logger: new Logger(() => (level, message) => silent[level](message)),
    preset: {
      worker: {
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        // As its documents advise, but for what a server has connections for.
        maxPoolSize: Math.max(10, Math.min(Number(concurrency) + 2, 100)),
      },
    },
    taskList: {
      // One clock for all processes of a machine.
      bench: async ({ number }) => {
        waited.push(Number(process.hrtime.bigint()) / 1e9 - number);
      },
    },
  });
  await new Promise((resolve) => lines.once("close", resolve));
  await runner.stop();
  clearInterval(printing);
}

await { install: () => runMigrations({ connectionString }), work }[command]();
