package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"

	"gopkg.in/yaml.v3"
)

// dynamic is a dynamic configuration as Traefik's file provider reads it.
type dynamic struct {
	HTTP struct {
		Routers     map[string]routerConfig     `yaml:"routers"`
		Middlewares map[string]middlewareConfig `yaml:"middlewares,omitempty"`
		Services    map[string]serviceConfig    `yaml:"services"`
	} `yaml:"http"`
}

type routerConfig struct {
	Rule        string   `yaml:"rule"`
	Middlewares []string `yaml:"middlewares,flow,omitempty"`
	Service     string   `yaml:"service"`
}

type middlewareConfig struct {
	Plugin struct {
		Wsfw yaml.Node `yaml:"wsfw"` // the options, in the order in which they were written
	} `yaml:"plugin"`
}

type serviceConfig struct {
	LoadBalancer struct {
		Servers []serverConfig `yaml:"servers"`
	} `yaml:"loadBalancer"`
}

type serverConfig struct {
	URL string `yaml:"url"`
}

func newDynamic() *dynamic {
	d := &dynamic{}
	d.HTTP.Routers = map[string]routerConfig{}
	d.HTTP.Middlewares = map[string]middlewareConfig{}
	d.HTTP.Services = map[string]serviceConfig{}
	return d
}

// lead adds a service of one server.
func (d *dynamic) lead(service, addr string) {
	var s serviceConfig
	s.LoadBalancer.Servers = []serverConfig{{"http://" + addr}}
	d.HTTP.Services[service] = s
}

// route adds a scenario's router and middleware.
func (d *dynamic) route(s scenario, service string) error {
	options, err := s.options()
	if err != nil {
		return err
	}
	var m middlewareConfig
	m.Plugin.Wsfw = *options
	d.HTTP.Middlewares[s.ID] = m
	d.HTTP.Routers[s.ID] = routerConfig{Rule: rule(s.ID), Middlewares: []string{s.ID}, Service: service}
	return nil
}

// text is the configuration as a file.
func (d *dynamic) text() (string, error) { return indented(d) }

// indented is a value as YAML, indented as in Traefik's documentation.
func indented(value any) (string, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	err := encoder.Encode(value)
	return b.String(), err
}

// rule matches a route's path and what lies below it.
func rule(id string) string {
	path := routePrefix + id
	return fmt.Sprintf("Path(`%s`) || PathPrefix(`%s/`)", path, path)
}

// options are the middleware's, as they are written.
func (s scenario) options() (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(s.YAML), &document); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.ID, err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("scenario %s: its options are no mapping", s.ID)
	}
	return document.Content[0], nil
}

// file is the whole route for Traefik's file provider: router, middleware, and the service at addr.
func (s scenario) file(addr string) (string, error) {
	d := newDynamic()
	d.lead(s.ID, addr)
	if err := d.route(s, s.ID); err != nil {
		return "", err
	}
	return d.text()
}

// labels is the same route as labels on a Docker service whose port is that of addr.
func (s scenario) labels(addr string) (string, error) {
	options, err := s.options()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	list := []string{
		"traefik.enable=true",
		"traefik.http.routers." + s.ID + ".rule=" + rule(s.ID),
		"traefik.http.routers." + s.ID + ".middlewares=" + s.ID,
		"traefik.http.services." + s.ID + ".loadbalancer.server.port=" + port,
	}
	list = appendLabels(list, "traefik.http.middlewares."+s.ID+".plugin.wsfw", options)
	return indented(map[string][]string{"labels": list})
}

// appendLabels adds the labels for an option and all that is below it. A list of plain values is one label, with commas.
func appendLabels(list []string, name string, option *yaml.Node) []string {
	switch option.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(option.Content); i += 2 {
			list = appendLabels(list, name+"."+option.Content[i].Value, option.Content[i+1])
		}
		return list
	case yaml.SequenceNode:
		var plain []string
		for i, item := range option.Content {
			if item.Kind == yaml.ScalarNode {
				plain = append(plain, item.Value)
			} else {
				list = appendLabels(list, fmt.Sprintf("%s[%d]", name, i), item)
			}
		}
		if len(plain) == 0 {
			return list
		}
		return append(list, name+"="+strings.Join(plain, ","))
	}
	return append(list, name+"="+option.Value)
}
