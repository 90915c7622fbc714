//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Command gocat-net is the far end of guests' user networks. gocat starts it.
package main

import (
	"os"

	"gocat/internal/usernet/helper"
)

func main() { os.Exit(helper.Main(os.Args)) }
