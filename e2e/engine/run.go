package engine

// Run starts a Traefik around one gateway, for programs that are no tests. It returns the address that clients dial and
// the process, which the caller stops. Without a configuration the router has no middleware: that is Traefik by itself.
// The output goes to a file, as an operator has it, for to read it takes time that the caller may be measuring.
func Run(s Setup) (addr string, p *Process, err error) {
	e := &traefik{binary: Binary}
	p, ep, err := e.grow(Setup{Host: loopback, Streams: s.Streams, Traefik: s.Traefik}, 1)
	if err != nil {
		return "", nil, err
	}
	f := &dynamicFile{process: p, entryPoint: ep, setup: s}
	if err := f.apply(s.Config); err != nil {
		p.Stop()
		return "", nil, err
	}
	return ep.addr, p, nil
}
