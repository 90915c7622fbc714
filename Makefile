# make build      ./gocat, gocat-net and gocat-runtime beside it, its link gocat-oci,
#                 and the bundled cat as cat.spt and cat.hvt
# make install    program, manual pages, completions and systemd unit, below
#                 PREFIX=/usr/local, or as a package would: DESTDIR=DIRECTORY
# make uninstall  remove what make install installs
# make deb        a Debian package, gocat_VERSION_amd64.deb
# make run        build, then run cat on a pipe, a file and /dev/null
# make test       vet, and the tests that take seconds
# make test-all   all tests, as CI runs them
# make vendor     copy the modules that it is built from into vendor/, for a build
#                 without network
# make fuzz       run every fuzz target for FUZZTIME=30s, or those that
#                 FUZZ=REGEXP names
# make bench      build, then measure it next to cat (five minutes); BENCH has
#                 options of gocat bench, such as BENCH=--quick
# make test-qemu  run the hvt tests and gocat selftest on ordinary KVM: a Debian
#                 kernel's kvm_amd in an emulated machine
# make test-oci   run unikernels under container engines with gocat-oci as their
#                 runtime: podman, Docker, containerd; as root, which installs
#                 those of Debian's packages that are missing
# make test-kubelet  run pods under a kubelet, as root; the first time it builds
#                 Kubernetes, which takes ten minutes or more
# make reproducible  build twice, in different places, and compare
# make sbom       write what the programs are made of (CycloneDX): gocat.cdx.json,
#                 gocat-net.cdx.json and gocat-runtime.cdx.json
# make clean      remove what the others have made

# One static binary, built by the Go toolchain alone. The version control stamp
# would fail in a checkout that belongs to somebody else.
export CGO_ENABLED = 0
export GOFLAGS = -buildvcs=false

PREFIX = /usr/local
DESTDIR =
VERSION := $(shell packaging/version)
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
LDFLAGS = -s -w -E main.entry -X gocat/internal/version.tag=$(VERSION)
SOURCES := go.mod go.sum CHANGELOG.md $(shell find . -name '*.go' -o -name '*.s')

.PHONY: build install uninstall deb help vendor run test test-all fuzz bench test-qemu test-oci test-kubelet reproducible sbom check-go clean

build: check-go
	go build -trimpath -ldflags='$(LDFLAGS)' -o gocat ./cmd/gocat
	go build -trimpath -ldflags='-s -w' -o gocat-net ./cmd/gocat-net
	go build -trimpath -ldflags='-s -w -X gocat/internal/version.tag=$(VERSION)' -o gocat-runtime ./cmd/gocat-runtime
	ln -sf gocat gocat-oci
	./gocat guest --backend=spt -o cat.spt
	./gocat guest --backend=hvt -o cat.hvt

help:
	@sed -n 's/^# \{0,1\}//; /^$$/q; p' Makefile

# What was built before is installed, so that root needs no Go toolchain.
gocat: $(SOURCES)
	@$(MAKE) --no-print-directory build

share: gocat cmd/gocat/man.go
	rm -rf share
	go run -tags=man -ldflags='$(LDFLAGS)' ./cmd/gocat man share
	@touch share

BIN = $(DESTDIR)$(PREFIX)/bin
LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/gocat
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
USERS = $(DESTDIR)$(PREFIX)/lib/sysusers.d
LINKS = solo5-hvt solo5-spt solo5-elftool gocat-oci

install: gocat share
	install -d $(BIN) $(LIBEXEC) $(SHARE) $(UNITS) $(USERS) $(SHARE)/doc/gocat
	install gocat $(BIN)/gocat
	install gocat-net gocat-runtime $(LIBEXEC)
	for name in $(LINKS); do ln -sf gocat $(BIN)/$$name || exit; done
	cd share && find . -type f -exec install -D -m 644 {} $(abspath $(SHARE))/{} \;
	for name in $(LINKS); do ln -sf gocat.1 $(SHARE)/man/man1/$$name.1 || exit; done
	install -m 644 LICENSE README.md CHANGELOG.md $(SHARE)/doc/gocat
	install -m 644 packaging/gocat@.service packaging/gocat-serve@.service $(UNITS)
	install -m 644 packaging/gocat.sysusers $(USERS)/gocat.conf

uninstall:
	rm -f $(BIN)/gocat $(addprefix $(BIN)/,$(LINKS)) $(UNITS)/gocat@.service $(UNITS)/gocat-serve@.service $(USERS)/gocat.conf
	rm -f $(SHARE)/man/man1/gocat.1 $(SHARE)/man/man1/gocat-*.1 $(patsubst %,$(SHARE)/man/man1/%.1,$(LINKS))
	rm -f $(SHARE)/bash-completion/completions/gocat $(SHARE)/zsh/site-functions/_gocat $(SHARE)/fish/vendor_completions.d/gocat.fish
	rm -rf $(SHARE)/doc/gocat $(LIBEXEC)

deb: gocat share
	packaging/deb $(VERSION)

vendor: check-go
	go mod vendor

run: build
	@echo; echo '== a pipe:  uptime | ./gocat run'
	@{ uptime || date; } 2>/dev/null | ./gocat run
	@echo '== a file:  ./gocat run < LICENSE | cmp - LICENSE'
	@./gocat run < LICENSE | cmp - LICENSE && echo same
	@echo '== /dev/null:  ./gocat run < /dev/null'
	@./gocat run < /dev/null && echo ended at once

# Tests look at the host, so a cached result says nothing.
# Signals that are ignored, as by nohup or in a script's background, would be so in what
# the tests start.
# All is compiled in one way, with -trimpath as the programs are, which the tests find
# through GOCAT.
test: TESTFLAGS = -short
test test-all: check-go
	go vet -trimpath ./...
	@rm -f skipped.log
	@programs=$$(mktemp -d); trap 'rm -rf "$$programs"' EXIT; trap 'exit 130' INT; \
	go build -trimpath -ldflags='gocat/cmd/...=-s -w' -ldflags='gocat/cmd/gocat=-s -w -E main.entry' -o "$$programs" ./cmd/... || exit; \
	status=0; \
	GOCAT=$$programs/gocat GOCAT_SKIPPED=$(CURDIR)/skipped.log env --default-signal=HUP,INT,QUIT \
		go test -trimpath -vet=off -count=1 -timeout=30m $(TESTFLAGS) ./... || status=$$?; \
	if [ -z "$$CI" ] && [ -s skipped.log ]; then echo 'Tests that were skipped, and why:'; sort skipped.log | uniq -c; fi; \
	exit $$status

FUZZTIME = 30s
fuzz: check-go
	@FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' .ci/fuzz

bench: build
	@./gocat bench $(BENCH)

test-qemu: check-go
	go run ./internal/qemutest
	go run ./internal/qemutest -timeout 30m -- gocat selftest --backend=hvt

test-oci: check-go
	.ci/engines
	cd internal/oci/testdata/engines && go test -count=1 -timeout=60m $(OCIFLAGS) .

# Where Kubernetes is built; Go's cache makes the second time short.
KUBELET = $(HOME)/.cache/gocat/kubelet

test-kubelet: check-go
	.ci/engines kubelet
	mkdir -p $(KUBELET)
	cd internal/oci/testdata/kubelet && go build -trimpath -ldflags='-s -w' -o $(KUBELET)/ tool
	cd internal/oci/testdata/engines && GOCAT_KUBELET=$(KUBELET) go test -count=1 -timeout=60m -run=TestKubelet -v .

reproducible: check-go
	@.ci/reproducible

sbom: build
	go run ./internal/sbom gocat > gocat.cdx.json
	go run ./internal/sbom gocat-net > gocat-net.cdx.json
	go run ./internal/sbom gocat-runtime > gocat-runtime.cdx.json

check-go:
	@packaging/check-go

clean:
	rm -rf gocat gocat-net gocat-runtime gocat-oci cat.spt cat.hvt *.cdx.json skipped.log share vendor gocat_*.deb
