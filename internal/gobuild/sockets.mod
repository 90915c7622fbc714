module sockets

go 1.25.0

require (
	github.com/google/btree v1.1.2
	golang.org/x/time v0.12.0
	gvisor.dev/gvisor v0.0.0-20260224225140-573d5e7127a8
)
