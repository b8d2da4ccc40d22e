# Targets for the common tasks: `make run` serves on SQLite, `make test` and `make lint`
# check. Each target installs missing tools (a C compiler, PostgreSQL, ...), as
# tests/install.sh describes.

SHELL := bash

.PHONY: help run demo test kills failover lint bench baseline

help: ## Lists the targets.
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

run: ## Builds and serves, with state in ./data; settings come from the environment and .env.
	@. tests/install.sh; require_cargo; has_compiler || install_packages gcc libc6-dev
	@exec cargo run -- serve

demo: ## Sends a test picture through nginx-rtmp and an edge to two destinations.
	@set -e; . tests/install.sh; require_cargo; packages=(); has_compiler || packages+=(gcc libc6-dev); \
	  add_media_packages; install_packages "$${packages[@]}"; \
	  cargo build --locked --bin sluice --example demo; exec cargo run --locked --quiet --example demo

test: ## Runs all tests, on SQLite and a temporary PostgreSQL.
	@tests/run

kills: ## Kills servers 500 times on each engine during writes, and reads all acknowledged writes back.
	@SLUICE_TEST_KILLS=$${SLUICE_TEST_KILLS:-500} tests/run --release --test api -- kills:: --nocapture

failover: ## Promotes a standby, alone on this machine: writes must succeed again within 3 seconds.
	@SLUICE_TEST_MAX_RECOVERY=3 tests/run --release --test api -- --nocapture \
	  database::failover::writes_continue_on_a_promoted_standby_and_no_acknowledged_one_is_lost

bench: ## Measures load and hot paths, and compares them with the limits of this machine.
	@tests/run bench --bench load
	@tests/run bench --bench hot_paths

lint: ## Checks formatting, lints, documentation, proto files and dependencies.
	@tests/lint

baseline: ## Makes the contract as it is the one that later changes must not break, after an addition.
	@. tests/install.sh; install_buf; export PATH=$$tools/bin:$$PATH; set -e; \
	  buf breaking --against tests/contract.binpb; \
	  buf build --exclude-source-info -o tests/contract.binpb
