// From sign-up to an ended stream, in TypeScript for Node.js. See README.md.
//
// Usage: main.js SERVER OPERATOR_KEY [SERVICE_CONFIG]

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { status } from "@grpc/grpc-js";

import {
  AuthServiceService as auth,
  GetMeRequest,
  SignOutRequest,
  SignUpRequest,
} from "../gen/sluice/v1/auth.js";
import {
  CreateDestinationRequest,
  CreateProjectRequest,
  ListProjectsRequest,
  Platform,
  ProjectServiceService as projects,
} from "../gen/sluice/v1/project.js";
import {
  BeginPublishRequest,
  EndPublishRequest,
  HeartbeatPublishRequest,
  PublishAction,
  Publisher,
  StopStreamRequest,
  StreamServiceService as streams,
  StreamState,
  endReasonToJSON,
  type WatchProjectResponse,
} from "../gen/sluice/v1/stream.js";
import { ApiKey, Client, ErrorDetails, Session, isServiceError, openChannel } from "./client.js";

// The stream in a message of a watch, if the message is about one in this state.
function streamIn(state: StreamState, { event }: WatchProjectResponse) {
  if (event?.$case !== "streamChanged") return undefined;
  return event.streamChanged.state === state ? event.streamChanged : undefined;
}

// Awaits a call that must fail.
async function failure(call: Promise<unknown>) {
  const error = await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => error,
  );
  assert(isServiceError(error));
  return { code: error.code, ...new ErrorDetails(error) };
}

async function main(server: string, operatorKey: string, serviceConfig?: string) {
  const config = serviceConfig && readFileSync(serviceConfig, "utf8");
  const channel = openChannel(server, config);

  // 1. Sign up. The request id makes a repeated call return the same account.
  const ada = new Client(channel);
  const signedUp = await ada.unary(
    auth.signUp,
    SignUpRequest.fromPartial({
      email: `ada-${randomUUID()}@example.com`,
      password: "correct horse battery",
      displayName: "Ada",
      requestId: randomUUID(),
    }),
  );
  const session = new Session(ada, signedUp.tokens!);
  ada.credentials = session;
  console.log(`signed up as ${signedUp.user!.email}`);

  // 2. Create a project. Sent twice, as after a lost answer: there is one project.
  const request = CreateProjectRequest.fromPartial({
    displayName: "Friday show",
    requestId: randomUUID(),
  });
  const created = await ada.call(projects.createProject, request);
  const again = await ada.call(projects.createProject, request);
  const projectId = created.project!.id;
  assert.equal(again.project!.id, projectId);
  console.log(`created project ${created.project!.displayName}`);

  // 3. Add a destination. An error lists every invalid field at once.
  const destination = { projectId, platform: Platform.PLATFORM_YOUTUBE };
  const refused = await failure(
    ada.call(
      projects.createDestination,
      CreateDestinationRequest.fromPartial({ ...destination, url: "https://example.com/page" }),
    ),
  );
  assert.equal(refused.reason, "FIELDS_INVALID");
  console.log(`refused: ${[...refused.fields.keys()].sort().join(", ")}`);
  await ada.call(
    projects.createDestination,
    CreateDestinationRequest.fromPartial({
      ...destination,
      displayName: "My channel",
      streamKey: "abcd-efgh-ijkl-mnop",
      requestId: randomUUID(),
    }),
  );
  console.log("added a destination");

  // 4. Lists have pages.
  for (const number of [0, 1, 2]) {
    await ada.call(
      projects.createProject,
      CreateProjectRequest.fromPartial({
        displayName: `Show ${number}`,
        requestId: randomUUID(),
      }),
    );
  }
  const sizes: number[] = [];
  const list = ListProjectsRequest.fromPartial({ pageSize: 2 });
  for await (const page of ada.pages(projects.listProjects, list)) {
    sizes.push(page.projects.length);
  }
  const total = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`listed ${total} projects in ${sizes.length} pages`);

  // 5. Tokens expire. Calls at the same time share one refresh.
  const before = session.refreshes;
  session.expire();
  const calls = Array.from({ length: 8 }, () =>
    ada.call(auth.getMe, GetMeRequest.fromPartial({})),
  );
  for (const answer of await Promise.all(calls)) assert.equal(answer.user!.displayName, "Ada");
  console.log(`8 calls shared ${session.refreshes - before} refresh`);

  // 6. Watch the project: a snapshot, then every change.
  const watch = ada.watch(projectId);
  const first = (await watch.next()).value as WatchProjectResponse;
  assert(first.event?.$case === "snapshot");
  console.log(`watching, ${first.event.snapshot.destinations.length} destination`);

  // 7. Publish, as a media server does. Its operator gave it an API key.
  const media = new Client(channel);
  media.credentials = new ApiKey(media, operatorKey);
  const publisher = Publisher.fromPartial({
    nodeId: "media-1",
    bootId: "1",
    connectionId: randomUUID(),
  });
  const begun = await media.call(
    streams.beginPublish,
    BeginPublishRequest.fromPartial({ streamKey: created.streamKey, publisher }),
  );
  const report = { streamId: begun.stream!.id, epoch: begun.stream!.epoch, publisher };
  const heartbeat = await media.call(
    streams.heartbeatPublish,
    HeartbeatPublishRequest.fromPartial({ ...report, stats: { bytesReceived: 125_000 } }),
  );
  assert.equal(heartbeat.action, PublishAction.PUBLISH_ACTION_CONTINUE);
  console.log(`published, next heartbeat in ${begun.heartbeatInterval!.seconds} s`);

  // 8. The watch sees the stream go live. Then it ends, as a connection may.
  let revision = first.revision;
  for await (const message of watch) {
    revision = message.revision;
    if (streamIn(StreamState.STREAM_STATE_LIVE, message)) break;
  }
  console.log("the stream is live");

  // 9. The publisher disconnects, and the owner ends the stream.
  await media.call(streams.endPublish, EndPublishRequest.fromPartial(report));
  await ada.call(
    streams.stopStream,
    StopStreamRequest.fromPartial({ streamId: begun.stream!.id }),
  );

  // 10. A watch that resumes after that revision misses nothing and repeats nothing.
  for await (const message of ada.watch(projectId, revision)) {
    const kind = message.event?.$case;
    if (kind !== "synced" && kind !== "heartbeat") {
      assert.equal(message.revision, revision + 1, "no gap, no duplicate");
      revision = message.revision;
    }
    const ended = streamIn(StreamState.STREAM_STATE_ENDED, message);
    if (ended) {
      console.log(`the stream ended: ${endReasonToJSON(ended.endReason)}`);
      break;
    }
  }

  // 11. Sign out: the session's tokens stop working.
  await ada.call(auth.signOut, SignOutRequest.fromPartial({}));
  const { code } = await failure(ada.call(auth.getMe, GetMeRequest.fromPartial({})));
  console.log(`signed out: ${status[code]}`);
  channel.close();
}

const [server, operatorKey, serviceConfig] = process.argv.slice(2);
if (!server || !operatorKey) {
  console.error("Usage: main.js SERVER OPERATOR_KEY [SERVICE_CONFIG]");
  process.exit(2);
}
await main(server, operatorKey, serviceConfig);
