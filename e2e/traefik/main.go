// Traefik builds a Traefik for the suite: the version that the module in the folder of that name pins.
//
//	go run ./traefik 3.7 .bin/traefik
//
// What serves requests, loads plugins and interprets them is Traefik's own. Left out are the DNS providers of its ACME client,
// lego, for no case asks for a certificate: they make most of a build's time, and some of their SDKs cannot be had.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: traefik version binary")
	}
	if err := build(filepath.Join("traefik", os.Args[1]), os.Args[2]); err != nil {
		log.Fatal("building Traefik: ", err)
	}
}

// build builds the Traefik that the module in dir pins.
func build(dir, binary string) error {
	if err := copyLego(dir); err != nil {
		return err
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	return run(dir, "go", "build", "-o", binary, "github.com/traefik/traefik/v3/cmd/traefik")
}

// run runs a command in dir.
func run(dir string, command ...string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// stub is lego's package of DNS providers, with none of them.
const stub = `package dns

import (
	"errors"

	"LEGO/challenge"
)

// NewDNSChallengeProviderByName knows no provider.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, errors.New("this Traefik was built without the DNS provider " + name)
}
`

// copyLego makes the folder lego that the module in dir puts in place of lego: a copy without its DNS providers and commands.
func copyLego(dir string) error {
	module, source, err := findLego(dir)
	if err != nil {
		return err
	}
	target := filepath.Join(dir, "lego")
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(target, "providers", "dns"), 0o755); err != nil {
		return err
	}
	for _, name := range []string{"go.mod", "acme", "certcrypto", "certificate", "challenge", "internal", "lego", "log", "platform", "providers/http", "registration"} {
		if err := copyTree(filepath.Join(source, name), filepath.Join(target, name)); err != nil {
			return err
		}
	}
	text := strings.ReplaceAll(stub, "LEGO", module)
	return os.WriteFile(filepath.Join(target, "providers", "dns", "dns.go"), []byte(text), 0o644)
}

// findLego returns the lego that the module in dir requires, and where the module cache has it.
func findLego(dir string) (module, source string, err error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", "", err
	}
	for _, line := range strings.Split(string(mod), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[0], "github.com/go-acme/lego/") && fields[1] != "=>" {
			source, err = download(fields[0] + "@" + fields[1])
			return fields[0], source, err
		}
	}
	return "", "", fmt.Errorf("%s/go.mod requires no lego", dir)
}

// download returns the folder of a module in the module cache.
func download(module string) (string, error) {
	told, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w\n%s", module, err, told)
	}
	var info struct{ Dir string }
	err = json.Unmarshal(told, &info)
	return info.Dir, err
}

// copyTree copies a file, or a folder with what is in it, if it is there. The module cache's are read-only, the copies are not.
func copyTree(source, target string) error {
	info, err := os.Stat(source)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(source)
	for _, entry := range entries {
		if err := copyTree(filepath.Join(source, entry.Name()), filepath.Join(target, entry.Name())); err != nil {
			return err
		}
	}
	return err
}
