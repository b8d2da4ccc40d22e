// Receives the webhooks of Sluice, and prints what happens to projects. See docs/webhooks.md.
//
// Usage: webhook-receiver.js PORT SECRET

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

import { Webhook, WebhookVerificationError } from "standardwebhooks";

// The longest body that Sluice sends.
const MAX_BODY_BYTES = 256 * 1024;

interface Message {
  type: string;
  timestamp: string;
  data: {
    projectId: string;
    revision: string;
    firstRevision: string;
    lastRevision: string;
  };
}

// The newest revision of each project that was received.
const revisions = new Map<string, bigint>();

// Takes a message; returns what to print, or undefined if it was taken before.
function take({ type, data }: Message): string | undefined {
  if (type === "webhook.test") return "test";
  const project = data.projectId;
  if (type === "events.gap") {
    // Read the project again: what it missed is not sent any more.
    revisions.set(project, BigInt(data.lastRevision));
    return `${project} gap ${data.firstRevision} ${data.lastRevision}`;
  }
  const revision = BigInt(data.revision);
  if (revision <= (revisions.get(project) ?? 0n)) return undefined;
  revisions.set(project, revision);
  return `${project} ${revision} ${type}`;
}

// The bytes as they came: another JSON text would have another signature.
async function body(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

// The status to answer: 204 to messages that are signed with the secret, 401 to all others.
async function receive(webhook: Webhook, request: IncomingMessage): Promise<number> {
  const text = await body(request);
  if (text === undefined) return 413;
  try {
    webhook.verify(text, request.headers as Record<string, string>);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return 401;
    throw error;
  }
  const taken = take(JSON.parse(text));
  if (taken !== undefined) console.log(taken);
  return 204;
}

const [port, secret] = process.argv.slice(2);
if (port === undefined || secret === undefined) {
  throw new Error("usage: webhook-receiver.js PORT SECRET");
}
const webhook = new Webhook(secret);
const server = createServer((request, response) => {
  receive(webhook, request).then(
    (status) => response.writeHead(status).end(),
    () => response.writeHead(500).end(),
  );
});
server.listen(Number(port), "127.0.0.1", () => {
  console.log(`listening on ${(server.address() as AddressInfo).port}`);
});
