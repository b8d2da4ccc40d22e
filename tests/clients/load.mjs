// Calls without pause, with the channel of examples/node, until standard input ends.
//
// Usage: load.mjs FOLDER SERVER OPERATOR_KEY SERVICE_CONFIG
//
// The folder has the built example. Prints the number of calls, and the first error of each worker.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const WORKERS = 8;

const [folder, server, , serviceConfig] = process.argv.slice(2);
const built = (file) => import(join(folder, "dist", file));
const { Client, Session, openChannel } = await built("src/client.js");
const { AuthServiceService: auth, SignUpRequest } = await built("gen/sluice/v1/auth.js");
const {
  CreateProjectRequest,
  GetProjectRequest,
  ListProjectsRequest,
  ProjectServiceService: projects,
} = await built("gen/sluice/v1/project.js");

const channel = openChannel(server, readFileSync(serviceConfig, "utf8"));
let stopped = false;
let calls = 0;

async function work() {
  const user = new Client(channel);
  const signedUp = await user.unary(
    auth.signUp,
    SignUpRequest.fromPartial({
      email: `${randomUUID()}@example.com`,
      password: "correct horse battery",
      displayName: "Load",
      requestId: randomUUID(),
    }),
  );
  user.credentials = new Session(user, signedUp.tokens);
  const created = [];
  while (!stopped) {
    const request = { displayName: "Load", requestId: randomUUID() };
    const { project } = await user.call(
      projects.createProject,
      CreateProjectRequest.fromPartial(request),
    );
    created.push(project.id);
    const read = GetProjectRequest.fromPartial({ projectId: project.id });
    await user.call(projects.getProject, read);
    calls += 2;
    await sleep(20);
  }
  const listed = [];
  const list = ListProjectsRequest.fromPartial({});
  for await (const page of user.pages(projects.listProjects, list)) {
    listed.push(...page.projects.map(({ id }) => id));
  }
  if (`${listed.sort()}` !== `${created.sort()}`) {
    throw new Error(`created ${created.length} projects, there are ${listed.length}`);
  }
}

const errors = [];
const workers = Array.from({ length: WORKERS }, () =>
  work().catch((error) => errors.push(String(error))),
);
console.log("started");
process.stdin.resume().on("end", () => (stopped = true));
await Promise.all(workers);
console.log(JSON.stringify({ calls, errors }));
channel.close();
process.exit();
