// From sign-up to an ended stream, in C++. See README.md.
//
// Usage: main SERVER OPERATOR_KEY [SERVICE_CONFIG]

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "sluice/v1/auth.grpc.pb.h"
#include "sluice/v1/project.grpc.pb.h"
#include "sluice/v1/stream.grpc.pb.h"

namespace pb = sluice::v1;
using Clock = std::chrono::system_clock;
using std::chrono::milliseconds;

// Refresh this long before the access token expires, or a fifth of its lifetime if that is less.
constexpr milliseconds kRefreshMargin{60'000};

void check(bool condition, const std::string& message) {
  if (condition) return;
  std::cerr << message << std::endl;
  std::exit(1);
}

// A random UUID (version 4).
std::string uuid() {
  static std::random_device random;
  std::ostringstream text;
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) text << '-';
    int value = random() % 16;
    if (digit == 12) value = 4;
    if (digit == 16) value = 8 + value % 4;
    text << std::hex << value;
  }
  return text.str();
}

// The machine-readable part of an error of the API.
struct ErrorDetails {
  std::string reason;                         // such as "FIELDS_INVALID"
  std::map<std::string, std::string> fields;  // each invalid field, with what is wrong with it
  milliseconds retry_delay{0};                // 0 if the server names none

  explicit ErrorDetails(const grpc::Status& status) {
    google::rpc::Status details;
    details.ParseFromString(status.error_details());
    for (const auto& detail : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest invalid;
      google::rpc::RetryInfo retry;
      if (detail.UnpackTo(&info)) {
        reason = info.reason();
      } else if (detail.UnpackTo(&invalid)) {
        for (const auto& violation : invalid.field_violations()) {
          fields[violation.field()] = violation.description();
        }
      } else if (detail.UnpackTo(&retry)) {
        const auto& delay = retry.retry_delay();
        retry_delay = milliseconds(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
      }
    }
  }
};

void check(const grpc::Status& status) {
  if (status.ok()) return;
  ErrorDetails details(status);
  check(false, details.reason + ": " + status.error_message());
}

// A channel. The service config has the deadlines, and the retries of repeatable calls.
std::shared_ptr<grpc::Channel> open_channel(const std::string& server, const std::string& config) {
  grpc::ChannelArguments arguments;
  // Find a lost connection within 40 seconds, also while a watch is silent.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // After a restart of the server, connect again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 3'000);
  if (!config.empty()) arguments.SetServiceConfigJSON(config);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

// An access token that is renewed in time. All threads share one refresh.
class Credentials {
 public:
  struct Token {
    std::string value;
    google::protobuf::Timestamp expire_time;
  };

  explicit Credentials(std::function<Token()> renew) : renew_(std::move(renew)) {}

  // An access token that is still valid for a while.
  std::string access_token() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (Clock::now() >= refresh_at_) {
      Token token = renew_();
      ++refreshes_;
      keep(token);
    }
    return value_;
  }

  // Refreshes before the next call, unless another token has replaced this one already.
  void expire(const std::string& token) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (token == value_) refresh_at_ = {};
  }

  // Keeps an access token until shortly before it expires.
  void keep(const Token& token) {
    auto expiry = Clock::from_time_t(token.expire_time.seconds());
    auto lifetime = std::chrono::duration_cast<milliseconds>(expiry - Clock::now());
    value_ = token.value;
    refresh_at_ = expiry - std::min(kRefreshMargin, lifetime / 5);
  }

  int refreshes() const { return refreshes_; }

 private:
  std::function<Token()> renew_;
  std::mutex mutex_;
  std::string value_;
  Clock::time_point refresh_at_{};
  int refreshes_ = 0;
};

// Calls a unary method. If the token is refused, gets a new one, and calls once more.
template <class Stub, class Request, class Response>
grpc::Status call(Credentials& credentials, Stub& stub,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    std::string token = credentials.access_token();
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    status = (stub.*method)(&context, request, response);
    if (status.error_code() != grpc::StatusCode::UNAUTHENTICATED) break;
    credentials.expire(token);
  }
  return status;
}

// Passes the messages of WatchProject to `handle`, without gap or duplicate, until it returns
// false. A later watch can resume after the revision of the last message.
grpc::Status watch(Credentials& credentials, pb::StreamService::Stub& streams,
                   const std::string& project_id, int64_t after_revision,
                   const std::function<bool(const pb::WatchProjectResponse&)>& handle) {
  for (milliseconds delay{200};; delay = std::min(delay * 2, milliseconds(5'000))) {
    std::string token = credentials.access_token();
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + token);
    pb::WatchProjectRequest request;
    request.set_project_id(project_id);
    request.set_after_revision(after_revision);
    auto reader = streams.WatchProject(&context, request);
    pb::WatchProjectResponse message;
    while (reader->Read(&message)) {
      after_revision = message.revision();
      delay = milliseconds(200);
      if (handle(message)) continue;
      context.TryCancel();
      reader->Finish();
      return grpc::Status::OK;
    }
    grpc::Status status = reader->Finish();
    ErrorDetails details(status);
    if (details.reason == "RESYNC_REQUIRED") {
      after_revision = 0;  // the history was deleted: start with a snapshot
    } else if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
      credentials.expire(token);
    } else if (status.error_code() != grpc::StatusCode::UNAVAILABLE &&
               status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED &&
               status.error_code() != grpc::StatusCode::RESOURCE_EXHAUSTED &&
               status.error_code() != grpc::StatusCode::INTERNAL) {
      return status;  // such as NOT_FOUND: the project was deleted
    }
    std::this_thread::sleep_for(details.retry_delay.count() ? details.retry_delay : delay);
  }
}

int main(int argc, char** argv) {
  check(argc >= 3, "Usage: main SERVER OPERATOR_KEY [SERVICE_CONFIG]");
  std::ostringstream config;
  if (argc > 3) config << std::ifstream(argv[3]).rdbuf();
  auto channel = open_channel(argv[1], config.str());
  auto auth = pb::AuthService::NewStub(channel);
  auto projects = pb::ProjectService::NewStub(channel);
  auto streams = pb::StreamService::NewStub(channel);

  // 1. Sign up. The request id makes a repeated call return the same account.
  pb::SignUpRequest sign_up;
  sign_up.set_email("ada-" + uuid() + "@example.com");
  sign_up.set_password("correct horse battery");
  sign_up.set_display_name("Ada");
  sign_up.set_request_id(uuid());
  pb::SignUpResponse signed_up;
  grpc::ClientContext sign_up_context;
  check(auth->SignUp(&sign_up_context, sign_up, &signed_up));
  pb::Tokens tokens = signed_up.tokens();
  Credentials ada([&] {
    // A repeated call returns the same new refresh token: a lost answer is harmless.
    pb::RefreshTokensRequest request;
    request.set_refresh_token(tokens.refresh_token());
    pb::RefreshTokensResponse response;
    grpc::ClientContext context;
    check(auth->RefreshTokens(&context, request, &response));
    tokens = response.tokens();
    return Credentials::Token{tokens.access_token(), tokens.access_token_expire_time()};
  });
  ada.keep({tokens.access_token(), tokens.access_token_expire_time()});
  std::cout << "signed up as " << signed_up.user().email() << std::endl;

  // 2. Create a project. Sent twice, as after a lost answer: there is one project.
  pb::CreateProjectRequest create;
  create.set_display_name("Friday show");
  create.set_request_id(uuid());
  pb::CreateProjectResponse created, again;
  check(call(ada, *projects, &pb::ProjectService::Stub::CreateProject, create, &created));
  check(call(ada, *projects, &pb::ProjectService::Stub::CreateProject, create, &again));
  check(again.project().id() == created.project().id(), "one project");
  std::string project_id = created.project().id();
  std::cout << "created project " << created.project().display_name() << std::endl;

  // 3. Add a destination. An error lists every invalid field at once.
  pb::CreateDestinationRequest destination;
  destination.set_project_id(project_id);
  destination.set_platform(pb::PLATFORM_YOUTUBE);
  destination.set_url("https://example.com/page");
  pb::CreateDestinationResponse added;
  auto create_destination = &pb::ProjectService::Stub::CreateDestination;
  ErrorDetails refused(call(ada, *projects, create_destination, destination, &added));
  check(refused.reason == "FIELDS_INVALID", "fields are refused");
  std::string fields;
  for (const auto& field : refused.fields) fields += (fields.empty() ? "" : ", ") + field.first;
  std::cout << "refused: " << fields << std::endl;
  destination.clear_url();
  destination.set_display_name("My channel");
  destination.set_stream_key("abcd-efgh-ijkl-mnop");
  destination.set_request_id(uuid());
  check(call(ada, *projects, create_destination, destination, &added));
  std::cout << "added a destination" << std::endl;

  // 4. Lists have pages.
  for (int number = 0; number < 3; ++number) {
    create.set_display_name("Show " + std::to_string(number));
    create.set_request_id(uuid());
    check(call(ada, *projects, &pb::ProjectService::Stub::CreateProject, create, &again));
  }
  pb::ListProjectsRequest list;
  list.set_page_size(2);
  int total = 0, pages = 0;
  do {
    pb::ListProjectsResponse page;
    check(call(ada, *projects, &pb::ProjectService::Stub::ListProjects, list, &page));
    total += page.projects_size();
    ++pages;
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  std::cout << "listed " << total << " projects in " << pages << " pages" << std::endl;

  // 5. Tokens expire. Calls at the same time share one refresh.
  int before = ada.refreshes();
  ada.expire(ada.access_token());
  std::vector<std::future<grpc::Status>> calls;
  for (int number = 0; number < 8; ++number) {
    calls.push_back(std::async(std::launch::async, [&] {
      pb::GetMeResponse response;
      return call(ada, *auth, &pb::AuthService::Stub::GetMe, pb::GetMeRequest(), &response);
    }));
  }
  for (auto& each : calls) check(each.get());
  std::cout << "8 calls shared " << ada.refreshes() - before << " refresh" << std::endl;

  // 6. Publish, as a media server does. Its operator gave it an API key.
  Credentials media([&] {
    pb::ExchangeApiKeyRequest request;
    request.set_secret(argv[2]);
    pb::ExchangeApiKeyResponse response;
    grpc::ClientContext context;
    check(auth->ExchangeApiKey(&context, request, &response));
    return Credentials::Token{response.access_token(), response.access_token_expire_time()};
  });
  pb::BeginPublishRequest begin;
  begin.set_stream_key(created.stream_key());
  begin.mutable_publisher()->set_node_id("media-1");
  begin.mutable_publisher()->set_boot_id("1");
  begin.mutable_publisher()->set_connection_id(uuid());
  pb::BeginPublishResponse begun;
  auto publish = [&] {
    check(call(media, *streams, &pb::StreamService::Stub::BeginPublish, begin, &begun));
    pb::HeartbeatPublishRequest heartbeat;
    heartbeat.set_stream_id(begun.stream().id());
    heartbeat.set_epoch(begun.stream().epoch());
    *heartbeat.mutable_publisher() = begin.publisher();
    heartbeat.mutable_stats()->set_bytes_received(125'000);
    pb::HeartbeatPublishResponse beat;
    check(call(media, *streams, &pb::StreamService::Stub::HeartbeatPublish, heartbeat, &beat));
    check(beat.action() == pb::PUBLISH_ACTION_CONTINUE, "the publisher continues");
    std::cout << "published, next heartbeat in " << begun.heartbeat_interval().seconds() << " s"
              << std::endl;
  };

  // 7. Watch the project: a snapshot, then every change. The watch sees the stream go live. Then
  // it ends, as a connection may.
  int64_t revision = 0;
  check(watch(ada, *streams, project_id, 0, [&](const pb::WatchProjectResponse& message) {
    revision = message.revision();
    if (message.has_snapshot()) {
      std::cout << "watching, " << message.snapshot().destinations_size() << " destination"
                << std::endl;
      publish();
    }
    return message.stream_changed().state() != pb::STREAM_STATE_LIVE;
  }));
  std::cout << "the stream is live" << std::endl;

  // 8. The publisher disconnects, and the owner ends the stream.
  pb::EndPublishRequest end;
  end.set_stream_id(begun.stream().id());
  end.set_epoch(begun.stream().epoch());
  *end.mutable_publisher() = begin.publisher();
  pb::EndPublishResponse end_response;
  check(call(media, *streams, &pb::StreamService::Stub::EndPublish, end, &end_response));
  pb::StopStreamRequest stop;
  stop.set_stream_id(begun.stream().id());
  pb::StopStreamResponse stopped;
  check(call(ada, *streams, &pb::StreamService::Stub::StopStream, stop, &stopped));

  // 9. A watch that resumes after that revision misses nothing and repeats nothing.
  check(watch(ada, *streams, project_id, revision, [&](const pb::WatchProjectResponse& message) {
    if (message.has_synced() || message.has_heartbeat()) return true;
    check(message.revision() == revision + 1, "no gap, no duplicate");
    revision = message.revision();
    if (message.stream_changed().state() != pb::STREAM_STATE_ENDED) return true;
    auto reason = pb::EndReason_Name(message.stream_changed().end_reason());
    std::cout << "the stream ended: " << reason << std::endl;
    return false;
  }));

  // 10. Sign out: the session's tokens stop working.
  pb::SignOutResponse signed_out;
  check(call(ada, *auth, &pb::AuthService::Stub::SignOut, pb::SignOutRequest(), &signed_out));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + tokens.access_token());
  pb::GetMeResponse me;
  auto status = auth->GetMe(&context, pb::GetMeRequest(), &me);
  check(status.error_code() == grpc::StatusCode::UNAUTHENTICATED, "the token is refused");
  std::cout << "signed out: UNAUTHENTICATED" << std::endl;
}
