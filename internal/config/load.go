package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/hishamos/hishamos/domain"
)

// Prefix begins every variable that is ours alone; an unknown one is a typing
// error. TestPrefix begins those that only tests read.
const (
	Prefix     = "HISHAMOS_"
	TestPrefix = "HISHAMOS_TEST_"
)

// Load reads the settings from an environment (os.Environ). A variable that is
// set to nothing counts as not set. The error joins one *domain.Error for every
// variable that is wrong; its field is the variable.
func Load(environ []string) (Config, error) {
	vars := env.ToMap(environ)
	for name, value := range vars {
		vars[name] = strings.TrimSpace(value)
		if vars[name] == "" {
			delete(vars, name)
		}
	}
	var c Config
	errs := unknown(vars)
	if err := env.ParseWithOptions(&c, env.Options{Environment: vars}); err != nil {
		errs = append(errs, explain(err)...)
	}
	if len(errs) > 0 { // what was not parsed cannot be checked
		return Config{}, errors.Join(errs...)
	}
	errs = append(errs, c.complete(vars), c.ranges(vars), c.addresses())
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// complete fills in the defaults that depend on something.
func (c *Config) complete(vars map[string]string) error {
	for i, broker := range c.KafkaBrokers {
		c.KafkaBrokers[i] = strings.TrimSpace(broker)
	}
	if c.KafkaPartitions == 0 && vars["HISHAMOS_KAFKA_PARTITIONS"] == "" {
		c.KafkaPartitions = clusterPartitions
		if c.EmbeddedLog() {
			c.KafkaPartitions = embeddedPartitions
		}
	}
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Data == "" {
		data, err := defaultData(vars)
		if err != nil {
			return err
		}
		c.Data = data
	}
	return nil
}

func defaultData(vars map[string]string) (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/hishamos", nil
	}
	if base := vars["XDG_DATA_HOME"]; filepath.IsAbs(base) { // the standard says to ignore others
		return filepath.Join(base, "hishamos"), nil
	}
	if home := vars["HOME"]; filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "hishamos"), nil
	}
	return "", invalid("HISHAMOS_DATA", "there is no home folder to put the data in", "set it to a folder, such as /srv/hishamos")
}

// ranges checks the `min` and `max` tags of what was set.
func (c Config) ranges(vars map[string]string) error {
	var errs []error
	v := reflect.ValueOf(c)
	for _, f := range reflect.VisibleFields(v.Type()) {
		name := f.Tag.Get("env")
		if vars[name] == "" {
			continue
		}
		if least, ok := f.Tag.Lookup("min"); ok && v.FieldByIndex(f.Index).Int() < atoi(least) {
			errs = append(errs, invalid(name, fmt.Sprintf("%q is too small", vars[name]), "set it to "+least+" or more"))
		}
		if most, ok := f.Tag.Lookup("max"); ok && v.FieldByIndex(f.Index).Int() > atoi(most) {
			errs = append(errs, invalid(name, fmt.Sprintf("%q is too large", vars[name]), "set it to "+most+" or less"))
		}
	}
	if c.ShutdownGrace < 0 {
		errs = append(errs, invalid("HISHAMOS_SHUTDOWN_GRACE", "a time to wait cannot be negative", "write it like 20s or 2m"))
	}
	if c.RelayLinger < 0 || c.RelayLinger > time.Second {
		errs = append(errs, invalid("HISHAMOS_RELAY_LINGER", "events would reach Kafka too late, or before they are there", "set it to 1s or less, such as 10ms, or to 0"))
	}
	if c.CheckpointInterval < 100*time.Millisecond {
		errs = append(errs, invalid("HISHAMOS_CHECKPOINT_INTERVAL", "checkpoints cannot be made that often", "set it to 100ms or more, such as 10s"))
	}
	if c.UploadExpiry < time.Minute {
		errs = append(errs, invalid("HISHAMOS_UPLOAD_EXPIRY", "nobody could upload a file in that time", "set it to 1m or more, such as 24h"))
	}
	if c.BlobGrace < time.Hour {
		errs = append(errs, invalid("HISHAMOS_BLOB_GRACE", "an event that is on its way may still name a blob that is not older", "set it to 1h or more, such as 24h"))
	}
	if c.FileExpiry < 0 || c.FileExpiry > 0 && c.FileExpiry < time.Minute {
		errs = append(errs, invalid("HISHAMOS_FILE_EXPIRY", "nobody could use a file in that time", "set it to 1m or more, such as 720h, or to 0 for never"))
	}
	if _, _, s3 := c.BlobBucket(); s3 && c.S3Credentials == "" {
		errs = append(errs, invalid("HISHAMOS_S3_CREDENTIALS", "is needed for HISHAMOS_BLOBS in S3", "set it to a file with the access key"))
	}
	for _, a := range c.Anchors {
		if a.Kind == KafkaAnchor && c.EmbeddedLog() {
			errs = append(errs, invalid("HISHAMOS_ANCHORS", a.String()+" would be on the embedded log, which is part of this machine", "use file: or git:, or set KAFKA_BROKERS"))
		}
	}
	return errors.Join(errs...)
}

func atoi(tag string) int64 {
	n, err := strconv.ParseInt(tag, 10, 64)
	if err != nil { // a mistake in Config, seen by every test
		panic(err)
	}
	return n
}

// bucketPlace is a bucket, and what to put before the names of its objects. The
// path must also be a clean one.
var bucketPlace = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9](/[A-Za-z0-9._-]+)*/?$`)

// addresses checks the form of everything that names a place.
func (c Config) addresses() error {
	var errs []error
	if err := hostPort(c.Listen); err != nil {
		errs = append(errs, invalid("HISHAMOS_LISTEN", fmt.Sprintf("%q is not an address to listen at: %v", c.Listen, err), "write it like 127.0.0.1:8080 or :8080"))
	}
	if err := hostPort(c.MetricsListen); err != nil && c.MetricsListen != "" {
		errs = append(errs, invalid("HISHAMOS_METRICS_LISTEN", fmt.Sprintf("%q is not an address to listen at: %v", c.MetricsListen, err), "write it like 127.0.0.1:9464 or :9464"))
	}
	if c.TraceForm != "http/protobuf" {
		errs = append(errs, invalid("OTEL_EXPORTER_OTLP_PROTOCOL", fmt.Sprintf("%q is not spoken", c.TraceForm), "set it to http/protobuf, or leave it out"))
	}
	errs = append(errs, c.doors()...)
	// The value may hold a key, as others write it: it is not repeated.
	switch rest, s3 := strings.CutPrefix(c.Blobs, "s3://"); {
	case s3 && (!bucketPlace.MatchString(rest) || path.Clean(rest) != strings.TrimSuffix(rest, "/")):
		errs = append(errs, invalid("HISHAMOS_BLOBS", "this is no bucket with a prefix", "write s3://BUCKET/PREFIX with letters, digits, dots, hyphens and underscores"))
	case !s3 && (strings.Contains(c.Blobs, "://") || strings.HasPrefix(strings.ToLower(c.Blobs), "s3:")):
		errs = append(errs, invalid("HISHAMOS_BLOBS", "this is neither a folder nor a bucket", "write a folder, or s3://BUCKET/PREFIX"))
	}
	for _, b := range c.KafkaBrokers {
		if host, _, err := net.SplitHostPort(b); err != nil || host == "" || hostPort(b) != nil {
			errs = append(errs, invalid("KAFKA_BROKERS", fmt.Sprintf("%q is not a broker", b), "write host:port, several separated by commas"))
		}
	}
	for _, a := range []struct{ name, value string }{
		{"HISHAMOS_URL", c.URL},
		{"HISHAMOS_MAVEN_URL", c.MavenURL},
		{"OPENAI_BASE_URL", c.OpenAIBaseURL},
		{"HISHAMOS_S3_ENDPOINT", c.S3Endpoint},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", c.TraceURL},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.TraceOnlyURL},
	} {
		if a.value == "" {
			continue
		}
		// The value may hold a password: it is not repeated.
		if u, err := url.Parse(a.value); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, invalid(a.name, "this is not a web address", "write it like https://host.example/path"))
		}
	}
	for name, address := range map[string]Secret{"DATABASE_URL": c.DatabaseURL, "HISHAMOS_READER_URL": c.ReaderURL} {
		if !address.Set() {
			continue
		}
		if u, err := url.Parse(address.Reveal()); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			errs = append(errs, invalid(name, "this is not the address of a Postgres database", "write it like postgres://user:password@host:5432/database"))
		}
	}
	if c.ReaderURL.Set() && !c.DatabaseURL.Set() {
		errs = append(errs, invalid("HISHAMOS_READER_URL", "it is for a database of your own", "set DATABASE_URL too, or remove it"))
	}
	return errors.Join(errs...)
}

// doors checks what concerns the ways in.
func (c Config) doors() []error {
	var errs []error
	if (c.TLSCert == "") != (c.TLSKey == "") {
		missing, have := "HISHAMOS_TLS_KEY", "HISHAMOS_TLS_CERT"
		if c.TLSCert == "" {
			missing, have = have, missing
		}
		errs = append(errs, invalid(missing, "is needed beside "+have, "set both, or neither"))
	}
	if c.MetricsToken.Set() && len(c.MetricsToken.Reveal()) < 16 {
		errs = append(errs, invalid("HISHAMOS_METRICS_TOKEN", "it is too short to be a secret", "use 16 characters or more"))
	}
	return errs
}

// Local reports whether an address to listen at is on this machine only.
func Local(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// TLS reports whether the API speaks TLS.
func (c Config) TLS() bool { return c.TLSCert != "" }

func hostPort(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("it needs a port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return errors.New("the port is a number from 0 to 65535")
	}
	return nil
}

// explain names the variable behind each error of the parser, and never repeats
// a value the parser's own text may hold.
func explain(err error) []error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return []error{fmt.Errorf("read settings: %w", err)}
	}
	var out []error
	for _, e := range all.Errors {
		var parse env.ParseError
		if !errors.As(e, &parse) {
			out = append(out, fmt.Errorf("read settings: %w", e))
			continue
		}
		f, _ := reflect.TypeFor[Config]().FieldByName(parse.Name)
		name := f.Tag.Get("env")
		switch kind := typeName(f.Type); kind {
		case "number":
			out = append(out, invalid(name, "this is not a whole number", "write digits only, such as "+example(f)))
		case "duration":
			out = append(out, invalid(name, "this is not a duration", "write it like 20s or 2m"))
		case "level":
			out = append(out, invalid(name, "this is not a level", "set it to debug, info, warn or error"))
		default: // our own types say it themselves
			out = append(out, invalid(name, parse.Err.Error(), "such as "+example(f)))
		}
	}
	return out
}

func example(f reflect.StructField) string {
	if d := f.Tag.Get("envDefault"); d != "" {
		return d
	}
	if e := f.Tag.Get("example"); e != "" {
		return e
	}
	return f.Tag.Get("min")
}

// unknown refuses our own variables that no setting reads.
func unknown(vars map[string]string) []error {
	var known []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		known = append(known, f.Tag.Get("env"))
	}
	var names []string
	for name := range vars {
		if strings.HasPrefix(name, Prefix) && !strings.HasPrefix(name, TestPrefix) && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		fix := "remove it; docs/reference/settings.md lists the settings"
		if near := nearest(name, known); near != "" {
			fix = "did you mean " + near + "?"
		}
		errs = append(errs, invalid(name, "there is no such setting", fix))
	}
	return errs
}

// nearest is the known name with the fewest edits, if they are few.
func nearest(name string, known []string) string {
	best, least := "", 5 // at most four edits
	for _, k := range known {
		if d := edits(strings.TrimPrefix(name, Prefix), strings.TrimPrefix(k, Prefix)); d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two names in ASCII.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func invalid(name, message, fix string) error {
	return &domain.Error{Kind: domain.Invalid, Code: "config.invalid", Field: name, Message: message, Fix: fix}
}
