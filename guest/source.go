// Package guest holds the sources of the sockets inside an image, for the
// builder: importing package gocat/guest/net itself would link gVisor's network
// stack into gocat.
package guest

import "embed"

// Net is package gocat/guest/net in directory net: its Go files, and what goes
// into packages of the standard library, in directory net/std.
//
//go:embed net/*.go net/std
var Net embed.FS
