module gocat

go 1.26.0

require golang.org/x/sys v0.49.0

require (
	github.com/elastic/go-seccomp-bpf v1.6.0 // indirect
	golang.org/x/arch v0.32.0 // indirect
	golang.org/x/net v0.62.0 // indirect
)
