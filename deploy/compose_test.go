// Package deploy holds files that run HishamOS elsewhere; its test checks them
// against the code. It has no code of its own.
package deploy_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/hishamos/hishamos/internal/config"
)

const composeFile = "docker-compose.yml"

// load reads the file as strictly as the specification allows: unknown keys and
// missing references are errors.
func load(t *testing.T, env map[string]string) (*types.Project, error) {
	t.Helper()
	content, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  ".",
		ConfigFiles: []types.ConfigFile{{Filename: composeFile, Content: content}},
		Environment: env,
	}, func(o *loader.Options) { o.SetProjectName("hishamos", true); o.Profiles = []string{"*"} })
}

func project(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t, map[string]string{"POSTGRES_PASSWORD": "secret", "HISHAMOS_KEYS_ROOT": "root"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ours reports whether a service runs our image.
func ours(s types.ServiceConfig) bool { return s.Image == "hishamos:local" }

func TestEveryImageHasAnExactVersion(t *testing.T) {
	t.Parallel()
	exact := regexp.MustCompile(`^[a-z./-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z0-9]+)?$`)
	for name, s := range project(t).Services {
		if !ours(s) && !exact.MatchString(s.Image) {
			t.Errorf("%s runs %q: name an exact version", name, s.Image)
		}
	}
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(string(dockerfile), -1)
	if len(found) < 2 {
		t.Fatal("the Dockerfile does not build in stages")
	}
	for _, from := range found {
		if !exact.MatchString(from[1]) {
			t.Errorf("the Dockerfile builds on %q: name an exact version", from[1])
		}
	}
}

func TestOnlyTheAPIAndGrafanaAreReachableAndOnlyFromThisHost(t *testing.T) {
	t.Parallel()
	for name, s := range project(t).Services {
		for _, port := range s.Ports {
			if name != "api" && name != "grafana" || port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s:%s", name, port.HostIP, port.Published)
			}
		}
		if s.NetworkMode == "host" || s.Privileged {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
	if len(project(t).Services["api"].Ports) != 1 {
		t.Error("the API cannot be reached")
	}
}

func TestOurContainersAreNotRootAndCannotWrite(t *testing.T) {
	t.Parallel()
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^USER ([0-9]+)`).FindSubmatch(dockerfile)
	if user == nil || string(user[1]) == "0" {
		t.Error("the image runs as root")
	}
	for name, s := range project(t).Services {
		if ours(s) && (!s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || s.User == "0" || s.User == "root") {
			t.Errorf("%s may write to its image, or keeps capabilities, or runs as root", name)
		}
	}
}

func TestEverySettingExists(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for f := range reflect.TypeFor[config.Config]().Fields() {
		known[f.Tag.Get("env")] = true
	}
	for name, s := range project(t).Services {
		for variable := range s.Environment {
			if ours(s) && !known[variable] {
				t.Errorf("%s sets %s, which is no setting", name, variable)
			}
		}
		if ours(s) && (s.Environment["DATABASE_URL"] == nil || s.Environment["KAFKA_BROKERS"] == nil) {
			t.Errorf("%s lacks DATABASE_URL or KAFKA_BROKERS: roles apart need both", name)
		}
	}
}

func TestTheServicesCoverEveryRoleOnce(t *testing.T) {
	t.Parallel()
	var roles []string
	for _, s := range project(t).Services {
		if ours(s) {
			roles = append(roles, strings.Split(s.Command[len(s.Command)-1], ",")...)
		}
	}
	slices.Sort(roles)
	if want := []string{"api", "handlers", "projections", "relay", "workers"}; !slices.Equal(roles, want) {
		t.Errorf("the services have the roles %v, want %v", roles, want)
	}
}

func TestEveryServiceHasAHealthCheckOrAReason(t *testing.T) {
	t.Parallel()
	for name, s := range project(t).Services {
		reason, _ := s.Extensions["x-no-healthcheck"].(string)
		checked := s.HealthCheck != nil && len(s.HealthCheck.Test) > 0 && !s.HealthCheck.Disable
		if checked == (reason != "") {
			t.Errorf("%s has a health check: %v, and a reason for having none: %q", name, checked, reason)
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s is not started again after it ended", name)
		}
	}
}

func TestSecretsComeFromOutside(t *testing.T) {
	t.Parallel()
	if _, err := load(t, nil); err == nil || !strings.Contains(err.Error(), "POSTGRES_PASSWORD") {
		t.Errorf("without a password: %v", err)
	}
	content, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^\s*[A-Z_]*(PASSWORD|KEY|TOKEN|SECRET)[A-Z_]*: *(.*)$`).FindAllStringSubmatch(string(content), -1) {
		if v := line[2]; !strings.Contains(v, "${") && !strings.HasPrefix(v, "/run/secrets/") {
			t.Errorf("a secret is written out: %s", line[0])
		}
	}
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range regexp.MustCompile(`\$\{([A-Z_]+)`).FindAllStringSubmatch(string(content), -1) {
		if !strings.Contains(string(example), "\n"+variable[1]+"=\n") && !strings.HasSuffix(string(example), "\n"+variable[1]+"=\n") {
			t.Errorf(".env.example does not name %s, or gives it a value", variable[1])
		}
	}
}

func TestAMisspeltKeyIsRefused(t *testing.T) {
	t.Parallel()
	_, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		ConfigFiles: []types.ConfigFile{{Filename: "x.yml", Content: []byte("services: {a: {image: \"a:1.0\", helthcheck: {}}}")}},
	}, func(o *loader.Options) { o.SetProjectName("x", true) })
	if err == nil {
		t.Error("the loader is not strict, so the other tests prove little")
	}
}
