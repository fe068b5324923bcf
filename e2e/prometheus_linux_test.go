package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/wsfw/wsfw/e2e/engine"
	"github.com/wsfw/wsfw/e2e/wire"
)

// TestExternalPrometheus has a real Prometheus scrape a gateway, with the example's alerts, and asks it what the example's
// dashboard asks.
func TestExternalPrometheus(t *testing.T) {
	engine.Each(t, func(t *testing.T, e engine.Engine) {
		g := newGroundOf(t, e, watched(object{"pingInterval": "100ms"}))
		j := g.join(t)
		addr := prometheus(t, g.gateway)
		await(t, wire.Timeout, func() string {
			if found := asked(t, addr, "wsfw_sessions == 1"); found != 1 {
				return fmt.Sprintf("Prometheus has %d middlewares with a session", found)
			}
			return ""
		})
		for _, expr := range dashboardQueries(t) {
			asked(t, addr, expr)
		}
		for name, health := range ruleHealth(t, addr) {
			if health == "err" {
				t.Errorf("the alert %s fails", name)
			}
		}
		j.client.Close()
	})
}

// prometheus runs one until the test ends, which scrapes the gateway by the example's alerts, and returns its address.
func prometheus(t *testing.T, gateway *engine.Gateway) (addr string) {
	t.Helper()
	examples, _ := examplesDir(t)
	addrs, err := engine.FreeAddrs("127.0.0.1", 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config, err := yaml.Marshal(object{
		"global":     object{"scrape_interval": "200ms", "evaluation_interval": "200ms"},
		"rule_files": []string{filepath.Join(examples, "observability", "alerts.yml")},
		"scrape_configs": []object{{
			"job_name": "wsfw", "scrape_timeout": "200ms", "metrics_path": engine.StatusPath + "/metrics",
			"static_configs": []object{{"targets": []string{gateway.Addr}}},
		}},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "prometheus.yml"), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addrs[0], "--log.level=error")
	run.Stderr = os.Stderr
	engine.DieWithParent(run)
	if err := run.Start(); err != nil {
		t.Fatalf("Prometheus, of the package prometheus: %v", err)
	}
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait() // that it was killed is no news
	})
	await(t, wire.Timeout, func() string {
		resp, err := http.Get("http://" + addrs[0] + "/-/ready")
		if err != nil {
			return err.Error()
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return ""
	})
	return addrs[0]
}

// asked is how many series a query finds.
func asked(t *testing.T, addr, query string) int {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	fetchJSON(t, "http://"+addr+"/api/v1/query?query="+url.QueryEscape(query), &answer)
	if answer.Status != "success" {
		t.Errorf("the query %s: %s", query, answer.Error)
	}
	return len(answer.Data.Result)
}

// ruleHealth is what Prometheus says of each alert.
func ruleHealth(t *testing.T, addr string) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health string }
			}
		}
	}
	fetchJSON(t, "http://"+addr+"/api/v1/rules", &answer)
	health := map[string]string{}
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			health[rule.Name] = rule.Health
		}
	}
	if len(health) == 0 {
		t.Error("there is no alert")
	}
	return health
}

// fetchJSON reads what is at an address.
func fetchJSON(t *testing.T, address string, into any) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", address, err)
	}
}

// dashboardQueries are those of the example's dashboard, with its variables replaced.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "examples/observability/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			queries = append(queries, strings.NewReplacer("$name", ".*", "$__rate_interval", "1m").Replace(target.Expr))
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard asks nothing")
	}
	return queries
}

// TestExternalPrometheusExample wants the example's files taken by Prometheus' own tool.
func TestExternalPrometheusExample(t *testing.T) {
	examples, _ := examplesDir(t)
	output, err := exec.Command("promtool", "check", "config", filepath.Join(examples, "observability", "prometheus.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, output)
	}
}
