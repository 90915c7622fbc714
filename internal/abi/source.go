//go:build !gocat_image

package abi

import "embed"

// Source is this package as the builder of Go guests puts it beside the library
// kernel.
//
//go:embed *.go
var Source embed.FS
