package wsfw

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
)

// tlsSource is where the TLS configuration for wss:// comes from. Its files are
// looked at before each dial and read again when they have changed.
type tlsSource struct {
	caFile, certFile, keyFile, serverName string
	minimum                               uint16 // TLS version
	insecure                              bool   // the upstream's certificate is not verified

	report   func(message string, cause error) // set by New
	mu       sync.Mutex
	current  *tls.Config
	versions string // of the files that current was made from
	failed   bool   // the files could not be used the last time
}

// config is the configuration for a dial to hostname.
func (t *tlsSource) config(hostname string) *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if versions := t.fileVersions(); versions != t.versions || t.failed {
		t.versions = versions
		fresh, mistakes := t.load()
		t.failed = len(mistakes) > 0
		if t.failed {
			// Most likely a file is being written: the next dial reads it again.
			t.report("tls files not read again", errors.New(mistakes[0].key+" is "+mistakes[0].problem+", "+mistakes[0].remedy))
		} else {
			t.current = fresh
		}
	}
	config := t.current.Clone()
	if config.ServerName == "" {
		config.ServerName = hostname
	}
	return config
}

// fileVersions tells one state of the files from another.
func (t *tlsSource) fileVersions() string {
	versions := ""
	for _, name := range []string{t.caFile, t.certFile, t.keyFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			versions += fmt.Sprintln(name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return versions
}

// badFile is a file that cannot be used.
type badFile struct {
	key, problem, remedy string
}

// load makes a configuration of the options, reading the files, and returns what is wrong with those that cannot be used.
func (t *tlsSource) load() (*tls.Config, []badFile) {
	config := &tls.Config{
		ServerName:         t.serverName,
		MinVersion:         t.minimum,
		InsecureSkipVerify: t.insecure,
		NextProtos:         []string{"http/1.1"},
	}
	var bad []badFile
	if t.caFile != "" {
		bad = append(bad, t.loadRoots(config)...)
	}
	if t.certFile != "" || t.keyFile != "" {
		bad = append(bad, t.loadPair(config)...)
	}
	return config, bad
}

// loadRoots reads the authorities into config.
func (t *tlsSource) loadRoots(config *tls.Config) []badFile {
	pem, err := os.ReadFile(t.caFile)
	if err != nil {
		return []badFile{{"tls.caFile", quoted(t.caFile), "cannot be read: " + err.Error()}}
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return []badFile{{"tls.caFile", quoted(t.caFile), "holds no certificate in PEM form"}}
	}
	return nil
}

// loadPair reads our own certificate and its key into config.
func (t *tlsSource) loadPair(config *tls.Config) []badFile {
	if t.certFile == "" {
		return []badFile{{"tls.keyFile", "set without tls.certFile", "name both or neither"}}
	}
	if t.keyFile == "" {
		return []badFile{{"tls.certFile", "set without tls.keyFile", "name both or neither"}}
	}
	pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
	if err != nil {
		return []badFile{{"tls.certFile", quoted(t.certFile), "cannot be used with tls.keyFile: " + err.Error()}}
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}
