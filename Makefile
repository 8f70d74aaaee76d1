# The front door. Meson and ninja do the building (tools/build), tools/setup gets the machine ready.
# `make help` says what there is.

PREFIX  ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := build
.PHONY: build run test coverage bench lint format install clean help

## build     release build in build/release (what plain `make` does)
build:
	@tools/setup run
	@tools/build release

## run       set up, build, start Daemun with two sample teams, take a tour; stays up until Ctrl-C
run: build
	@exec tools/run

## test      set up, then every suite: lint, unit, wire, sanitizers, fuzz, end-to-end
test:
	@tools/setup run test
	@exec tests/run $(SUITES)

## coverage  set up, then run the tests of http and io and say which of their lines ran; below 90 % it fails
coverage:
	@tools/setup run test coverage
	@exec tools/coverage

## bench     set up (nginx and haproxy too), then measure and write bench/results
bench:
	@tools/setup run bench
	@exec tools/bench

## lint      formatter, dependencies between folders, sizes, bug patterns
lint:
	@tools/setup run test lint
	@exec tools/lint

## format    lay out the C sources as .clang-format says
format:
	@tools/setup lint
	@exec tools/format --write

## install   programs and systemd units below PREFIX (/usr/local); DESTDIR is put in front, for packages
install:
	@tools/install '$(PREFIX)' '$(DESTDIR)'

## clean     remove everything that was built
clean:
	rm -rf build tests/node_modules

## help      this list. `make test SUITES="unit e2e"` runs some suites; `tests/run --list` names them
help:
	@sed -n 's/^## \{0,1\}/  make /p' Makefile
