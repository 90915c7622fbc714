//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Command gocat-runtime is gocat as an OCI container runtime. gocat becomes it when
// it is invoked by the name gocat-oci.
package main

import (
	"os"

	"gocat/internal/oci/command"
)

func main() { os.Exit(command.Main(os.Args[1:])) }
