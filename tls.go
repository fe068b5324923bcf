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
	options  TLSConfig
	minimum  uint16
	report   func(message string, cause error) // set by New
	mu       sync.Mutex
	current  *tls.Config
	versions string // of the files that current was made from
}

// config is the configuration for a dial to hostname.
func (t *tlsSource) config(hostname string) *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if versions := t.fileVersions(); versions != t.versions {
		t.versions = versions
		fresh, err := t.load()
		if err != nil {
			// Most likely a file is being written: its next version will do.
			t.report("tls files not read again", err)
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
	for _, name := range []string{t.options.CAFile, t.options.CertFile, t.options.KeyFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			versions += fmt.Sprintln(name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return versions
}

// load makes a configuration of the options, reading the files. Its error names every
// key whose file cannot be used.
func (t *tlsSource) load() (*tls.Config, error) {
	config := &tls.Config{
		ServerName:         t.options.ServerName,
		MinVersion:         t.minimum,
		InsecureSkipVerify: t.options.InsecureSkipVerify,
		NextProtos:         []string{"http/1.1"},
	}
	return config, errors.Join(t.loadRoots(config), t.loadPair(config))
}

// loadRoots reads the authorities into config.
func (t *tlsSource) loadRoots(config *tls.Config) error {
	if t.options.CAFile == "" {
		return nil
	}
	pem, err := os.ReadFile(t.options.CAFile)
	if err != nil {
		return errors.New("tls.caFile: cannot be read: " + err.Error())
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return errors.New("tls.caFile: holds no certificate in PEM form")
	}
	return nil
}

// loadPair reads our own certificate and its key into config.
func (t *tlsSource) loadPair(config *tls.Config) error {
	if t.options.CertFile == "" && t.options.KeyFile == "" {
		return nil
	}
	if t.options.CertFile == "" || t.options.KeyFile == "" {
		return errors.New("tls.certFile, tls.keyFile: go together: name both or neither")
	}
	pair, err := tls.LoadX509KeyPair(t.options.CertFile, t.options.KeyFile)
	if err != nil {
		return errors.New("tls.certFile, tls.keyFile: cannot be used: " + err.Error())
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// tlsVersions are the values of tls.minVersion.
var tlsVersions = map[string]uint16{
	"":    tls.VersionTLS12,
	"1.2": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12,
	"1.3": tls.VersionTLS13, "VersionTLS13": tls.VersionTLS13,
}

// tls parses the tls options. secure tells whether there is a wss:// endpoint.
func (m *mistakes) tls(c *TLSConfig, secure bool) *tlsSource {
	if c == nil {
		c = &TLSConfig{}
	} else if !secure {
		m.add("tls", "needs a wss:// endpoint")
	}
	m.unknown("tls.", c.Unknown)
	minimum, known := tlsVersions[c.MinVersion]
	if !known {
		m.add("tls.minVersion", "is %q, must be 1.2 or 1.3", c.MinVersion)
	}
	source := &tlsSource{options: *c, minimum: minimum}
	source.versions = source.fileVersions()
	config, err := source.load()
	if err != nil {
		m.errs = append(m.errs, err)
	}
	source.current = config
	return source
}
