// Package ext stands in for a module that Traefik's repository replaces by a folder of its own, which the module proxy does not
// have. Traefik embeds the structs in its configuration; without fields they change nothing.
package ext

// HTTP has no options.
type HTTP struct{}

// Router has no options.
type Router struct{}
