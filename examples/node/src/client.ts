// The reusable part of a client: a channel, tokens that refresh themselves, resumed watches.

import { setTimeout as sleep } from "node:timers/promises";

import {
  Channel,
  ChannelCredentials,
  Client as GrpcClient,
  Metadata,
  credentials as grpcCredentials,
  status,
  type MethodDefinition,
  type ServiceError,
} from "@grpc/grpc-js";

import { BadRequest, ErrorInfo, RetryInfo } from "../gen/google/rpc/error_details.js";
import { Status } from "../gen/google/rpc/status.js";
import { AuthServiceService as auth, type Tokens } from "../gen/sluice/v1/auth.js";
import {
  StreamServiceService as streams,
  WatchProjectRequest,
  type WatchProjectResponse,
} from "../gen/sluice/v1/stream.js";

// Refresh this long before the access token expires, or a fifth of its lifetime if that is less.
const REFRESH_MARGIN_MS = 60_000;

// A channel. The service config has the deadlines, and the retries of repeatable calls.
export function openChannel(server: string, serviceConfig?: string, tls = false): Channel {
  const credentials = tls ? grpcCredentials.createSsl() : grpcCredentials.createInsecure();
  return new Channel(server, credentials, {
    // Find a lost connection within 40 seconds, also while a watch is silent.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    // After a restart of the server, connect again soon.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 3_000,
    ...(serviceConfig ? { "grpc.service_config": serviceConfig } : {}),
  });
}

// The machine-readable part of an error of the API.
export class ErrorDetails {
  // Such as "FIELDS_INVALID"; empty for an error of the gRPC library.
  reason = "";
  // Each invalid field, with what is wrong with it.
  fields = new Map<string, string>();
  retryDelayMs?: number;

  constructor(error: ServiceError) {
    for (const bytes of error.metadata?.get("grpc-status-details-bin") ?? []) {
      for (const detail of Status.decode(bytes as Buffer).details) {
        switch (detail.typeUrl) {
          case "type.googleapis.com/google.rpc.ErrorInfo":
            this.reason = ErrorInfo.decode(detail.value).reason;
            break;
          case "type.googleapis.com/google.rpc.BadRequest":
            for (const violation of BadRequest.decode(detail.value).fieldViolations) {
              this.fields.set(violation.field, violation.description);
            }
            break;
          case "type.googleapis.com/google.rpc.RetryInfo": {
            const delay = RetryInfo.decode(detail.value).retryDelay;
            this.retryDelayMs = delay && delay.seconds * 1000 + delay.nanos / 1e6;
          }
        }
      }
    }
  }
}

// Whether a value is an error of a call.
export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

// Where the access tokens of a client come from.
export abstract class Credentials {
  private token = "";
  private refreshAt = 0;
  private running?: Promise<string>;
  refreshes = 0;

  // Gets a new access token.
  protected abstract renew(): Promise<{ token: string; expireTime?: Date }>;

  // Keeps an access token until shortly before it expires.
  protected keep(token: string, expireTime = new Date()): void {
    const lifetime = expireTime.getTime() - Date.now();
    this.token = token;
    this.refreshAt = expireTime.getTime() - Math.min(REFRESH_MARGIN_MS, lifetime / 5);
  }

  // An access token that is still valid for a while. All callers share one refresh.
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
  constructor(
    private readonly client: Client,
    private tokens: Tokens,
  ) {
    super();
    this.keep(tokens.accessToken, tokens.accessTokenExpireTime);
  }

  protected async renew() {
    const { refreshToken } = this.tokens;
    // A repeated call returns the same new refresh token: a lost answer is harmless.
    const answer = await this.client.unary(auth.refreshTokens, { refreshToken });
    // A program that keeps its session on disk writes the tokens before it uses them.
    this.tokens = answer.tokens!;
    return { token: this.tokens.accessToken, expireTime: this.tokens.accessTokenExpireTime };
  }
}

// An API key of a program, such as a media server.
export class ApiKey extends Credentials {
  constructor(
    private readonly client: Client,
    private readonly secret: string,
  ) {
    super();
  }

  protected async renew() {
    const { secret } = this;
    const answer = await this.client.unary(auth.exchangeApiKey, { secret });
    return { token: answer.accessToken, expireTime: answer.accessTokenExpireTime };
  }
}

// Calls the API, without a token until `credentials` is set.
export class Client {
  credentials?: Credentials;
  private readonly client: GrpcClient;

  constructor(channel: Channel) {
    const unused = ChannelCredentials.createInsecure();
    this.client = new GrpcClient("", unused, { channelOverride: channel });
  }

  // Calls a unary method without a token.
  unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    metadata = new Metadata(),
  ): Promise<Response> {
    // grpc-js does not take this from the service config.
    metadata.setOptions({ waitForReady: true });
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        (error, response) => (error ? reject(error) : resolve(response!)),
      );
    });
  }

  // Calls a unary method. If the token is refused, gets a new one, and calls once more.
  async call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
  ): Promise<Response> {
    const token = await this.credentials!.accessToken();
    try {
      return await this.unary(method, request, bearer(token));
    } catch (error) {
      if (!isServiceError(error) || error.code !== status.UNAUTHENTICATED) throw error;
      this.credentials!.expire(token);
      const renewed = await this.credentials!.accessToken();
      return await this.unary(method, request, bearer(renewed));
    }
  }

  // All answers of a list, page by page.
  async *pages<Request extends { pageToken: string }, Response extends { nextPageToken: string }>(
    method: MethodDefinition<Request, Response>,
    request: Request,
  ): AsyncGenerator<Response> {
    for (let pageToken = request.pageToken; ; ) {
      const answer = await this.call(method, { ...request, pageToken });
      yield answer;
      pageToken = answer.nextPageToken;
      if (!pageToken) return;
    }
  }

  // The messages of WatchProject, without gap or duplicate, for as long as it is iterated. Each
  // message has the revision after which a later watch can resume.
  async *watch(projectId: string, afterRevision = 0): AsyncGenerator<WatchProjectResponse> {
    for (let delay = 200; ; delay = Math.min(delay * 2, 5_000)) {
      const token = await this.credentials!.accessToken();
      const method = streams.watchProject;
      const call = this.client.makeServerStreamRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        WatchProjectRequest.fromPartial({ projectId, afterRevision }),
        bearer(token),
      );
      let pause = delay;
      try {
        for await (const message of call) {
          afterRevision = message.revision;
          delay = pause = 200;
          yield message;
        }
      } catch (error) {
        if (!isServiceError(error)) throw error;
        const details = new ErrorDetails(error);
        pause = details.retryDelayMs ?? pause;
        if (details.reason === "RESYNC_REQUIRED") {
          afterRevision = 0; // the history was deleted: start with a snapshot
        } else if (error.code === status.UNAUTHENTICATED) {
          this.credentials!.expire(token);
        } else if (!TRANSIENT.has(error.code)) {
          throw error; // such as NOT_FOUND: the project was deleted
        }
      } finally {
        call.cancel();
      }
      await sleep(pause);
    }
  }
}

// The codes after which a watch resumes. INTERNAL: a connection that broke within a message.
const TRANSIENT = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL,
]);

function bearer(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}
