// The reusable part of a client: a transport, tokens that refresh themselves, resumed watches.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  createClient,
  type Client,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { AuthService, type Tokens } from "../gen/sluice/v1/auth_pb";
import { StreamService, type WatchProjectResponse } from "../gen/sluice/v1/stream_pb";

// Refresh this long before the access token expires, or a fifth of its lifetime if that is less.
const REFRESH_MARGIN_MS = 60_000;

// A watch has a message every 10 seconds by default. Without one for this long, its connection is
// lost: a page cannot send keepalives.
const SILENCE_MS = 30_000;

const ATTEMPTS = 5;

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

// A transport with deadlines and retries, which browsers do not take from a service config.
export function openTransport(baseUrl: string, credentials?: Credentials): Transport {
  return createGrpcWebTransport({
    baseUrl,
    defaultTimeoutMs: 30_000,
    interceptors: credentials ? [retries, bearer(credentials)] : [retries],
  });
}

// Retries UNAVAILABLE for calls that change nothing or have a request id.
const retries: Interceptor = (next) => async (request) => {
  if (request.stream) return next(request);
  const isRead = /^(Get|List|Reveal)/.test(request.method.name);
  const isRepeatable = isRead || ("requestId" in request.message && request.message.requestId);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await next(request);
    } catch (error) {
      const { code, retryDelayMs } = errorDetails(error);
      if (!isRepeatable || code !== Code.Unavailable || attempt === ATTEMPTS) throw error;
      await sleep(retryDelayMs ?? 200 * 2 ** attempt * Math.random());
    }
  }
};

// Sends an access token. If a unary call is refused, gets a new one, and calls once more.
const bearer =
  (credentials: Credentials): Interceptor =>
  (next) =>
  async (request) => {
    const token = await credentials.accessToken();
    request.header.set("authorization", `Bearer ${token}`);
    try {
      return await next(request);
    } catch (error) {
      if (request.stream || errorDetails(error).code !== Code.Unauthenticated) throw error;
      credentials.expire(token);
      request.header.set("authorization", `Bearer ${await credentials.accessToken()}`);
      return next(request);
    }
  };

// The machine-readable part of an error of the API.
export function errorDetails(error: unknown) {
  const found = ConnectError.from(error);
  const invalid = found.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  const delay = found.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    code: found.code,
    message: found.rawMessage,
    // Such as "FIELDS_INVALID"; empty for an error of the browser or a proxy.
    reason: found.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    // Each invalid field, with what is wrong with it.
    fields: new Map(invalid.map(({ field, description }) => [field, description])),
    retryDelayMs: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}

// Where the access tokens of a client come from.
export abstract class Credentials {
  private token = "";
  private refreshAt = 0;
  private running?: Promise<string>;
  refreshes = 0;

  // Gets a new access token.
  protected abstract renew(): Promise<{ token: string; expireTime?: Timestamp }>;

  // Keeps an access token until shortly before it expires.
  protected keep(token: string, expireTime?: Timestamp): void {
    const expiry = expireTime ? timestampMs(expireTime) : Date.now();
    this.token = token;
    this.refreshAt = expiry - Math.min(REFRESH_MARGIN_MS, (expiry - Date.now()) / 5);
  }

  // An access token that is still valid for a while. All callers share one refresh. Tabs that
  // share a session must also share the refresh: take a lock (navigator.locks) around it.
  accessToken(): Promise<string> {
    if (Date.now() < this.refreshAt) return Promise.resolve(this.token);
    this.running ??= this.renew()
      .then(({ token, expireTime }) => {
        this.refreshes += 1;
        this.keep(token, expireTime);
        return token;
      })
      .finally(() => (this.running = undefined));
    return this.running;
  }

  // Refreshes before the next call, unless another token has replaced this one already.
  expire(token = this.token): void {
    if (token === this.token) this.refreshAt = 0;
  }
}

// A user's tokens.
export class Session extends Credentials {
  private readonly auth: Client<typeof AuthService>;

  constructor(
    baseUrl: string,
    private tokens: Tokens,
  ) {
    super();
    this.auth = createClient(AuthService, openTransport(baseUrl));
    this.keep(tokens.accessToken, tokens.accessTokenExpireTime);
  }

  protected async renew() {
    const { refreshToken } = this.tokens;
    // A repeated call returns the same new refresh token: a lost answer is harmless.
    const answer = await this.auth.refreshTokens({ refreshToken });
    this.tokens = answer.tokens!;
    return { token: this.tokens.accessToken, expireTime: this.tokens.accessTokenExpireTime };
  }
}

// An API key of a program, such as a media server.
export class ApiKey extends Credentials {
  private readonly auth: Client<typeof AuthService>;

  constructor(
    baseUrl: string,
    private readonly secret: string,
  ) {
    super();
    this.auth = createClient(AuthService, openTransport(baseUrl));
  }

  protected async renew() {
    const answer = await this.auth.exchangeApiKey({ secret: this.secret });
    return { token: answer.accessToken, expireTime: answer.accessTokenExpireTime };
  }
}

// The messages of WatchProject, without gap or duplicate, for as long as they are iterated. Each
// message has the revision after which a later watch can resume.
export async function* watchProject(
  transport: Transport,
  credentials: Credentials,
  projectId: string,
  afterRevision = 0n,
): AsyncGenerator<WatchProjectResponse> {
  const streams = createClient(StreamService, transport);
  for (let delay = 200; ; delay = Math.min(delay * 2, 5_000)) {
    const token = await credentials.accessToken();
    const connection = new AbortController();
    const lost = () => connection.abort(new ConnectError("the watch is silent", Code.Unavailable));
    let timer = setTimeout(lost, SILENCE_MS);
    let pause = delay;
    try {
      const options = { signal: connection.signal, timeoutMs: 0 };
      for await (const message of streams.watchProject({ projectId, afterRevision }, options)) {
        clearTimeout(timer);
        afterRevision = message.revision;
        delay = pause = 200;
        yield message;
        timer = setTimeout(lost, SILENCE_MS);
      }
    } catch (error) {
      const details = errorDetails(error);
      pause = details.retryDelayMs ?? pause;
      if (details.reason === "RESYNC_REQUIRED") {
        afterRevision = 0n; // the history was deleted: start with a snapshot
      } else if (details.code === Code.Unauthenticated) {
        credentials.expire(token);
      } else if (!TRANSIENT.has(details.code) && !connection.signal.aborted) {
        throw error; // such as NOT_FOUND: the project was deleted
      }
    } finally {
      clearTimeout(timer);
      connection.abort();
    }
    await sleep(pause);
  }
}

// The codes after which a watch resumes. UNKNOWN: what a browser reports for a lost connection.
const TRANSIENT = new Set([
  Code.Unavailable,
  Code.DeadlineExceeded,
  Code.ResourceExhausted,
  Code.Internal,
  Code.Unknown,
]);
