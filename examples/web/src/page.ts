// From sign-up to an ended stream, in a web page. See README.md.

import { Code, createClient, type Client } from "@connectrpc/connect";

import { AuthService } from "../gen/sluice/v1/auth_pb";
import { Platform, ProjectService } from "../gen/sluice/v1/project_pb";
import {
  EndReason,
  PublishAction,
  StreamService,
  StreamState,
  type WatchProjectResponse,
} from "../gen/sluice/v1/stream_pb";
import { ApiKey, Session, errorDetails, openTransport, watchProject } from "./client";
import { passkeyAssertion, registerPasskey } from "./passkeys";

const PASSWORD = "correct horse battery";

// Shows a step on the page.
function say(text: string) {
  const item = document.createElement("li");
  item.textContent = text;
  document.querySelector("#steps")!.append(item);
}

function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

// The stream in a message of a watch, if the message is about one in this state.
function streamIn(state: StreamState, { event }: WatchProjectResponse) {
  return event.case === "streamChanged" && event.value.state === state ? event.value : undefined;
}

// Awaits a call that must fail.
async function failure(call: Promise<unknown>) {
  const error = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert(error, "the call succeeded");
  return errorDetails(error);
}

// A user with a passkey signs in without an address. The server must know the origin of this page.
async function passkeys(server: string, auth: Client<typeof AuthService>, email: string) {
  const anonymous = createClient(AuthService, openTransport(server));
  const registered = await registerPasskey(auth, "This browser", { password: PASSWORD });
  say(`registered a passkey, with ${registered.recoveryCodes.length} recovery codes`);

  const assertion = await passkeyAssertion(anonymous);
  const signedIn = await anonymous.signInWithPasskey({ passkeyAssertion: assertion });
  say(`signed in with the passkey as ${signedIn.user!.email}`);
  const again = await failure(anonymous.signInWithPasskey({ passkeyAssertion: assertion }));
  say(`the same assertion again: ${again.reason}`);

  // From now on, the password alone is not enough.
  const credentials = { email, password: PASSWORD };
  const refused = await failure(anonymous.signIn(credentials));
  say(`the password alone: ${refused.reason}`);
  await anonymous.signIn({ ...credentials, passkeyAssertion: await passkeyAssertion(anonymous) });
  say("signed in with the password and the passkey");

  const passkeyId = registered.passkey!.id;
  await auth.deletePasskey({ passkeyId, passkeyAssertion: await passkeyAssertion(anonymous) });
  const { passkeys } = await auth.listPasskeys({});
  say(`deleted the passkey, ${passkeys.length} are left`);
}

async function story(server: string, operatorKey: string, withPasskey: boolean) {
  // 1. Sign up. The request id makes a repeated call return the same account.
  const signedUp = await createClient(AuthService, openTransport(server)).signUp({
    email: `ada-${crypto.randomUUID()}@example.com`,
    password: PASSWORD,
    displayName: "Ada",
    requestId: crypto.randomUUID(),
  });
  const session = new Session(server, signedUp.tokens!);
  const transport = openTransport(server, session);
  const auth = createClient(AuthService, transport);
  const projects = createClient(ProjectService, transport);
  const streams = createClient(StreamService, transport);
  say(`signed up as ${signedUp.user!.email}`);

  // 2. Create a project. Sent twice, as after a lost answer: there is one project.
  const request = { displayName: "Friday show", requestId: crypto.randomUUID() };
  const created = await projects.createProject(request);
  const again = await projects.createProject(request);
  const projectId = created.project!.id;
  assert(again.project!.id === projectId, "one project");
  say(`created project ${created.project!.displayName}`);

  // 3. Add a destination. An error lists every invalid field at once.
  const destination = { projectId, platform: Platform.YOUTUBE };
  const refused = await failure(
    projects.createDestination({ ...destination, url: "https://example.com/page" }),
  );
  assert(refused.reason === "FIELDS_INVALID", "fields are refused");
  say(`refused: ${[...refused.fields.keys()].sort().join(", ")}`);
  await projects.createDestination({
    ...destination,
    displayName: "My channel",
    streamKey: "abcd-efgh-ijkl-mnop",
    requestId: crypto.randomUUID(),
  });
  say("added a destination");

  // 4. Watch the project: a snapshot, then every change.
  const watch = watchProject(transport, session, projectId);
  const first: WatchProjectResponse = (await watch.next()).value;
  assert(first.event.case === "snapshot", "a snapshot is first");
  say(`watching, ${first.event.value.destinations.length} destination`);

  // 5. The open watch occupies one of the six connections that a browser has for a server over
  // HTTP/1.1. Calls use the others. Lists have pages.
  for (const number of [0, 1, 2]) {
    const displayName = `Show ${number}`;
    await projects.createProject({ displayName, requestId: crypto.randomUUID() });
  }
  const sizes: number[] = [];
  let pageToken = "";
  do {
    const page = await projects.listProjects({ pageSize: 2, pageToken });
    sizes.push(page.projects.length);
    pageToken = page.nextPageToken;
  } while (pageToken);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  say(`listed ${total} projects in ${sizes.length} pages`);

  // 6. Tokens expire. Calls at the same time share one refresh.
  const before = session.refreshes;
  session.expire();
  const answers = await Promise.all(Array.from({ length: 8 }, () => auth.getMe({})));
  assert(
    answers.every(({ user }) => user!.displayName === "Ada"),
    "all calls are answered",
  );
  say(`8 calls shared ${session.refreshes - before} refresh`);

  // 7. Publish, as a media server does. Its operator gave it an API key.
  const key = new ApiKey(server, operatorKey);
  const media = createClient(StreamService, openTransport(server, key));
  const publisher = { nodeId: "media-1", bootId: "1", connectionId: crypto.randomUUID() };
  const begun = await media.beginPublish({ streamKey: created.streamKey, publisher });
  const report = { streamId: begun.stream!.id, epoch: begun.stream!.epoch, publisher };
  const heartbeat = await media.heartbeatPublish({
    ...report,
    stats: { bytesReceived: 125_000n },
  });
  assert(heartbeat.action === PublishAction.CONTINUE, "the publisher continues");
  say(`published, next heartbeat in ${begun.heartbeatInterval!.seconds} s`);

  // 8. The watch sees the stream go live. Then it ends, as a connection may.
  let revision = first.revision;
  for await (const message of watch) {
    revision = message.revision;
    if (streamIn(StreamState.LIVE, message)) break;
  }
  say("the stream is live");

  // 9. The publisher disconnects, and the owner ends the stream.
  await media.endPublish(report);
  await streams.stopStream({ streamId: begun.stream!.id });

  // 10. A watch that resumes after that revision misses nothing and repeats nothing.
  for await (const message of watchProject(transport, session, projectId, revision)) {
    if (message.event.case !== "synced" && message.event.case !== "heartbeat") {
      assert(message.revision === revision + 1n, "no gap, no duplicate");
      revision = message.revision;
    }
    const ended = streamIn(StreamState.ENDED, message);
    if (ended) {
      say(`the stream ended: END_REASON_${EndReason[ended.endReason]}`);
      break;
    }
  }

  // 11. Sign in with a passkey, if the user wants one.
  if (withPasskey) await passkeys(server, auth, signedUp.user!.email);

  // 12. Sign out: the session's tokens stop working.
  await auth.signOut({});
  const { code } = await failure(auth.getMe({}));
  say(`signed out: ${Code[code].toUpperCase()}`);
}

document.querySelector<HTMLFormElement>("#form")!.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target as HTMLFormElement);
  document.querySelector("button")!.disabled = true;
  const [server, operatorKey] = ["server", "operatorKey"].map((name) => `${form.get(name)}`);
  story(server, operatorKey, form.has("passkey")).catch((error: unknown) => {
    const { code, reason, message } = errorDetails(error);
    document.querySelector("#failure")!.textContent = `${Code[code]} ${reason}: ${message}`;
  });
});
