# What is slow to make is kept outside of the checkout and made again when it is not there: compiled dependencies,
# base file systems of test machines, the K3s stand-in.
export BOWLINE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bowline
export CARGO_TARGET_DIR ?= $(BOWLINE_CACHE)/target
# `make demo KEEP=1 K3S=/path/to/k3s`
export KEEP K3S

.PHONY: help demo test quick bench soak deb
help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: ## boots five machines, gives them the cloud-init document, and shows what becomes of them (KEEP=1 leaves them running)
	@tests/run with cargo run --quiet --locked --package bowline-booted --bin demo

test: ## everything that a change has to pass (as root: it boots machines)
	@tests/run all

quick: ## what of it runs in a minute, for every commit
	@tests/run quick

bench: ## the figures, beside those of others, into target/bench/results.json
	@tests/run with cargo run --quiet --locked --release --package bowline-booted --bin bench

soak: ## what takes longer than `make test` may
	@tests/run with cargo test --locked --package bowline-booted -- --ignored --test-threads=2
	@tests/run with cargo test --locked --package bowline-usage --test meanwhile million -- --ignored
	@SLOW_K3S=8 tests/run with cargo test --locked --package bowline-booted --test cases clusters -- --test-threads=2
	@POWER_CUTS=60 tests/run with cargo test --locked --package bowline-booted --test cases power_cuts -- --test-threads=2

deb: ## the Debian package, into target/deb (ARCH=arm64 or ARCH=amd64: for such a machine, wherever it is built)
	@$(if $(ARCH),BOWLINE_ARCH=$(ARCH)) packaging/build-deb target/deb
