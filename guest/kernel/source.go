//go:build !gocat_image

package kernel

import "embed"

// Source is the kernel as the builder puts it into images: the Go files of this
// package, and what goes into package runtime, in directory runtime.
//
//go:embed *.go runtime
var Source embed.FS
