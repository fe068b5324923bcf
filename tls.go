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

// configFor is the configuration for a dial to hostname.
func configFor(t *tlsSource, hostname string) *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if versions := fileVersions(t); versions != t.versions || t.failed {
		t.versions = versions
		m := &mistakes{}
		fresh := loadFiles(t, m)
		t.failed = len(m.list) > 0
		if t.failed {
			// Most likely a file is being written: the next dial reads it again.
			t.report("tls files not read again", errors.New(m.list[0]))
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
func fileVersions(t *tlsSource) string {
	return versionsOf(t.caFile, t.certFile, t.keyFile)
}

// versionsOf tells one state of files from another; those without a name do not count.
func versionsOf(names ...string) string {
	versions := ""
	for _, name := range names {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			versions += fmt.Sprintln(name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return versions
}

// loadFiles makes a configuration of the options, reading the files, and notes what is wrong with those that cannot be used.
func loadFiles(t *tlsSource, m *mistakes) *tls.Config {
	config := &tls.Config{
		ServerName:         t.serverName,
		MinVersion:         t.minimum,
		InsecureSkipVerify: t.insecure,
		NextProtos:         []string{"http/1.1"},
	}
	if t.caFile != "" {
		pem, err := os.ReadFile(t.caFile)
		if err != nil {
			m.add("tls.caFile", quoted(t.caFile), "cannot be read: "+err.Error())
		}
		config.RootCAs = x509.NewCertPool()
		usable := config.RootCAs.AppendCertsFromPEM(pem)
		m.addIf(err == nil && !usable, "tls.caFile", quoted(t.caFile), "holds no certificate in PEM form")
	}
	m.addIf(t.certFile == "" && t.keyFile != "", "tls.keyFile", "set without tls.certFile", "name both or neither")
	m.addIf(t.certFile != "" && t.keyFile == "", "tls.certFile", "set without tls.keyFile", "name both or neither")
	if t.certFile != "" && t.keyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.certFile, t.keyFile)
		if err != nil {
			m.add("tls.certFile", quoted(t.certFile), "cannot be used with tls.keyFile: "+err.Error())
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}
