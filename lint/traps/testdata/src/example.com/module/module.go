// Package module stands for anything outside the standard library.
package module
