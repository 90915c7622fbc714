# make build   ./gocat, and the bundled cat as cat.spt and cat.hvt
# make run     build, then run cat on a pipe, a file and /dev/null
# make test    vet and test everything
# make fuzz    run every fuzz target for FUZZTIME=30s, or those that FUZZ=REGEXP names
# make bench   build, then measure it next to cat (five minutes); BENCH has options
#              of gocat bench, such as BENCH=--quick
# make test-qemu  run the hvt tests and gocat selftest on ordinary KVM: a Debian
#              kernel's kvm_amd in an emulated machine
# make reproducible  build twice, in different places, and compare
# make sbom    write gocat.cdx.json, what ./gocat is made of (CycloneDX)

# One static binary, built by the Go toolchain alone. The version control stamp
# would fail in a checkout that belongs to somebody else.
export CGO_ENABLED = 0
export GOFLAGS = -buildvcs=false

.PHONY: build run test fuzz bench test-qemu reproducible sbom check-go clean

build: check-go
	go build -trimpath -ldflags='-s -w -E main.entry' -o gocat ./cmd/gocat
	./gocat guest --backend=spt -o cat.spt
	./gocat guest --backend=hvt -o cat.hvt

run: build
	@echo; echo '== a pipe:  uptime | ./gocat run'
	@{ uptime || date; } 2>/dev/null | ./gocat run
	@echo '== a file:  ./gocat run < LICENSE | cmp - LICENSE'
	@./gocat run < LICENSE | cmp - LICENSE && echo same
	@echo '== /dev/null:  ./gocat run < /dev/null'
	@./gocat run < /dev/null && echo ended at once

# Tests look at the host, so a cached result says nothing.
test: check-go
	go vet ./...
	@rm -f skipped.log
	GOCAT_SKIPPED=$(CURDIR)/skipped.log go test -count=1 -timeout=10m ./...
	@if [ -z "$$CI" ] && [ -s skipped.log ]; then echo 'Tests that were skipped, and what they lacked:'; sort skipped.log | uniq -c; fi

FUZZTIME = 30s
fuzz: check-go
	@FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' .ci/fuzz

bench: build
	@./gocat bench $(BENCH)

test-qemu: check-go
	go run ./internal/qemutest
	go run ./internal/qemutest -timeout 30m -- gocat selftest --backend=hvt

reproducible: check-go
	@.ci/reproducible

sbom: build
	go run ./internal/sbom gocat > gocat.cdx.json

check-go:
	@command -v go >/dev/null || { echo 'gocat needs Go, at least version $(shell sed -n "s/^go //p" go.mod): https://go.dev/dl' >&2; exit 1; }
	@go version

clean:
	rm -f gocat cat.spt cat.hvt gocat.cdx.json skipped.log
