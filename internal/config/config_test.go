package config_test

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/config"
)

var update = flag.Bool("update", false, "write the reference page")

// minimal is an environment that names nothing but a place for the data.
func minimal(more ...string) []string { return append([]string{"HISHAMOS_DATA=/srv/data"}, more...) }

func TestAnEmptyEnvironmentGivesTheEmbeddedProfile(t *testing.T) {
	t.Parallel()
	c, err := config.Load(minimal("HISHAMOS_LISTEN=", "UNRELATED=1"))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Data: "/srv/data", Listen: "127.0.0.1:8080", LogLevel: slog.LevelInfo, LogFormat: config.JSON,
		Workers: 8, ShutdownGrace: 20 * time.Second, MavenURL: "https://repo1.maven.org/maven2", KafkaPartitions: 4,
		LogRetain: config.Retain{Size: 256e6}, RelayLinger: 10 * time.Millisecond, Express: true, TokenRequests: 1000, TenantRequests: 5000, QueueLimit: 4096, TenantShare: 50, StreamRate: 200, EventLimit: 65536, AppendLimit: 1048576, RelayLagLimit: 1_000_000, MinFreeDisk: 512e6,
		CheckpointEvery: 1000, CheckpointInterval: 10 * time.Second,
		S3Endpoint: "https://s3.amazonaws.com", S3Region: "us-east-1", ValueLimit: 1 << 20, UploadLimit: 10e9, UploadQuota: 100e9,
		UploadExpiry: 24 * time.Hour, BlobGrace: 24 * time.Hour, FileExpiry: 720 * time.Hour,
		IdempotencyDays: 7, OpenAIBaseURL: "https://api.openai.com/v1", Model: "gpt-4.1-mini",
		TraceForm: "http/protobuf", TraceSampler: "parentbased_traceidratio", TraceRatio: 1, TraceService: "hishamos",
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(config.Secret{})); diff != "" {
		t.Error(diff)
	}
	if !c.EmbeddedPostgres() || !c.EmbeddedLog() {
		t.Error("the default profile is not embedded")
	}
}

func TestEverySettingIsRead(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"HISHAMOS_DATA=/d", "HISHAMOS_LISTEN=:9090", "HISHAMOS_URL=https://h.example/", "HISHAMOS_TOKEN=tok", "DATABASE_URL=postgres://u:p@h/db",
		"KAFKA_BROKERS=a:9092, b:9092", "HISHAMOS_LOG_RETAIN=all", "HISHAMOS_KAFKA_REPLICATION=3", "HISHAMOS_EXPRESS=off",
		"HISHAMOS_WORKERS=2", "HISHAMOS_LOG_LEVEL=debug", "HISHAMOS_LOG_FORMAT=text", "OPENAI_API_KEY=sk", "OPENAI_BASE_URL=http://m/v1",
		"HISHAMOS_MODEL=m", "HISHAMOS_MAVEN_URL=http://mirror", "HISHAMOS_POSTGRES_BIN=/pg", "HISHAMOS_QUEUE_LIMIT=1",
		"HISHAMOS_TENANT_QUEUE_SHARE=25", "HISHAMOS_TENANT_RATE=3", "HISHAMOS_STREAM_RATE=4", "HISHAMOS_EVENT_LIMIT=2048", "HISHAMOS_APPEND_LIMIT=4096", "HISHAMOS_READER_URL=postgres://reader@db/hishamos",
		"HISHAMOS_RELAY_LAG_LIMIT=2", "HISHAMOS_RELAY_LINGER=3ms", "HISHAMOS_MIN_FREE_DISK=1.5GiB", "HISHAMOS_IDEMPOTENCY_DAYS=30", "HISHAMOS_SHUTDOWN_GRACE=1m",
		"HISHAMOS_ANCHORS=file:/mnt/worm/notes?outside, git:/srv/repo?push=vault&outside, kafka:hishamos.checkpoints",
		"HISHAMOS_CHECKPOINT_KEY=/run/secrets/key", "HISHAMOS_CHECKPOINT_EVERY=10", "HISHAMOS_CHECKPOINT_INTERVAL=1s",
		"HISHAMOS_METRICS_LISTEN=:9464", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/", "OTEL_EXPORTER_OTLP_HEADERS=a=b", "OTEL_TRACES_SAMPLER=Always_On",
		"OTEL_TRACES_SAMPLER_ARG=0.25", "OTEL_SERVICE_NAME=s",
		"HISHAMOS_BLOBS=s3://bucket/some/prefix/", "HISHAMOS_S3_ENDPOINT=http://minio:9000", "HISHAMOS_S3_REGION=eu", "HISHAMOS_S3_CREDENTIALS=/run/secrets/s3",
		"HISHAMOS_VALUE_LIMIT=2MiB", "HISHAMOS_UPLOAD_LIMIT=1GB", "HISHAMOS_UPLOAD_QUOTA=2GB", "HISHAMOS_UPLOAD_EXPIRY=1h", "HISHAMOS_FILE_EXPIRY=0", "HISHAMOS_BLOB_GRACE=2h",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Data: "/d", Listen: ":9090", URL: "https://h.example", Token: config.NewSecret("tok"), DatabaseURL: config.NewSecret("postgres://u:p@h/db"),
		KafkaBrokers: []string{"a:9092", "b:9092"}, KafkaPartitions: 16, KafkaReplication: 3, LogRetain: config.Retain{All: true},
		Workers: 2, LogLevel: slog.LevelDebug, LogFormat: config.Text, OpenAIKey: config.NewSecret("sk"), OpenAIBaseURL: "http://m/v1",
		Model: "m", MavenURL: "http://mirror", PostgresBin: "/pg", TokenRequests: 1000, TenantRequests: 5000, QueueLimit: 1,
		TenantShare: 25, TenantRate: 3, StreamRate: 4, EventLimit: 2048, AppendLimit: 4096, ReaderURL: config.NewSecret("postgres://reader@db/hishamos"), RelayLagLimit: 2, RelayLinger: 3 * time.Millisecond, MinFreeDisk: 3 << 29,
		IdempotencyDays: 30, ShutdownGrace: time.Minute,
		Anchors: config.Anchors{
			{Kind: config.FileAnchor, Place: "/mnt/worm/notes", Outside: true},
			{Kind: config.GitAnchor, Place: "/srv/repo", Push: "vault", Outside: true},
			{Kind: config.KafkaAnchor, Place: "hishamos.checkpoints"},
		},
		CheckpointKey: "/run/secrets/key", CheckpointEvery: 10, CheckpointInterval: time.Second,
		MetricsListen: ":9464", TraceURL: "http://c:4318/", TraceHeaders: config.NewSecret("a=b"), TraceForm: "http/protobuf",
		TraceSampler: "always_on", TraceRatio: 0.25, TraceService: "s",
		Blobs: "s3://bucket/some/prefix/", S3Endpoint: "http://minio:9000", S3Region: "eu", S3Credentials: "/run/secrets/s3",
		ValueLimit: 2 << 20, UploadLimit: 1e9, UploadQuota: 2e9, UploadExpiry: time.Hour, BlobGrace: 2 * time.Hour,
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(config.Secret{})); diff != "" {
		t.Error(diff)
	}
}

func TestABucketNeedsItsNameAndItsKey(t *testing.T) {
	t.Parallel()
	if bucket, prefix, ok := (config.Config{Blobs: "s3://b/x/y/"}).BlobBucket(); bucket != "b" || prefix != "x/y/" || !ok {
		t.Errorf("bucket %q, prefix %q, %t", bucket, prefix, ok)
	}
	if _, err := config.Load(minimal("HISHAMOS_BLOBS=s3://bucket")); err == nil {
		t.Error("a bucket was accepted without its key")
	}
	const key = "HISHAMOS_S3_CREDENTIALS=/f"
	for _, place := range []string{"s3://bucket", "s3://bucket/", "s3://old.bucket_1/a/b-c/"} {
		if _, err := config.Load(minimal("HISHAMOS_BLOBS="+place, key)); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
	for _, place := range []string{
		"s3://", "s3:///x", "s3://b", "s3://bucket//x", "s3://bucket/x//", "s3://bucket/../x", "s3://bucket/.", "s3://bucket?region=eu",
		"s3://bucket:9000/x", "s3://id:s3cret@bucket/x", "s3://bucket/a b", "s3:bucket/x", "s3:/bucket/x", "S3://bucket",
	} {
		_, err := config.Load(minimal("HISHAMOS_BLOBS="+place, key))
		var e *domain.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), "HISHAMOS_BLOBS: ") || !strings.Contains(err.Error(), "s3://BUCKET/PREFIX") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", place, err)
		}
	}
}

func TestAWrongValueIsNamedWithItsFix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ variable, value, message, fix string }{
		{"HISHAMOS_METRICS_LISTEN", "9464", "not an address", "like 127.0.0.1:9464"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "not a web address", "https://"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not spoken", "http/protobuf"},
		{"OTEL_TRACES_SAMPLER", "sometimes", "not a sampler", "such as parentbased_traceidratio"},
		{"OTEL_TRACES_SAMPLER_ARG", "1.5", "from 0 to 1", "such as 1"},
		{"OTEL_TRACES_SAMPLER_ARG", "NaN", "from 0 to 1", "such as 1"},
		{"HISHAMOS_BLOBS", "gs://bucket", "neither a folder nor a bucket", "s3://BUCKET/PREFIX"},
		{"HISHAMOS_VALUE_LIMIT", "1KB", "too small", "65536 or more"},
		{"HISHAMOS_UPLOAD_LIMIT", "999TB", "too large", "or less"},
		{"HISHAMOS_UPLOAD_EXPIRY", "1s", "nobody could upload", "such as 24h"},
		{"HISHAMOS_BLOB_GRACE", "59m", "on its way", "such as 24h"},
		{"HISHAMOS_FILE_EXPIRY", "1s", "nobody could use", "or to 0"},
		{"HISHAMOS_S3_ENDPOINT", "minio:9000", "not a web address", "https://"},
		{"HISHAMOS_WORKERS", "eight", "not a whole number", "such as 8"},
		{"HISHAMOS_WORKERS", "0", "too small", "1 or more"},
		{"HISHAMOS_KAFKA_PARTITIONS", "0", "too small", "1 or more"},
		{"HISHAMOS_KAFKA_PARTITIONS", "99999", "too large", "1024 or less"},
		{"HISHAMOS_IDEMPOTENCY_DAYS", "3", "too small", "7 or more"},
		{"HISHAMOS_MIN_FREE_DISK", "512", "not a size", "512MB"},
		{"HISHAMOS_MIN_FREE_DISK", "-1MB", "not a size", "512MB"},
		{"HISHAMOS_MIN_FREE_DISK", "NaNMB", "not a size", "512MB"},
		{"HISHAMOS_MIN_FREE_DISK", "9999999999TB", "not a size", "512MB"},
		{"HISHAMOS_LOG_RETAIN", "some", "not a size", "256MB"},
		{"HISHAMOS_EXPRESS", "maybe", "neither on nor off", "on"},
		{"HISHAMOS_LOG_LEVEL", "loud", "not a level", "debug, info, warn or error"},
		{"HISHAMOS_LOG_FORMAT", "xml", "neither json nor text", "such as json"},
		{"HISHAMOS_SHUTDOWN_GRACE", "20", "not a duration", "20s"},
		{"HISHAMOS_SHUTDOWN_GRACE", "-20s", "negative", "20s"},
		{"HISHAMOS_LISTEN", "localhost", "needs a port", ":8080"},
		{"HISHAMOS_LISTEN", ":http", "number from 0 to 65535", ":8080"},
		{"HISHAMOS_URL", "localhost:8080", "not a web address", "https://"},
		{"HISHAMOS_MAVEN_URL", "file:///x", "not a web address", "https://"},
		{"OPENAI_BASE_URL", "api", "not a web address", "https://"},
		{"DATABASE_URL", "mysql://secretpw@x", "not the address of a Postgres", "postgres://"},
		{"KAFKA_BROKERS", "a:9092,b", "not a broker", "host:port"},
		{"HISHAMOS_LISTN", ":1", "no such setting", "did you mean HISHAMOS_LISTEN?"},
		{"HISHAMOS_KAFKA_PARTITION", "4", "no such setting", "did you mean HISHAMOS_KAFKA_PARTITIONS?"},
		{"HISHAMOS_ANCHORS", "ftp:/x", "is no anchor", "such as file:/mnt/"},
		{"HISHAMOS_ANCHORS", "file:relative", "absolute path", "such as file:/mnt/"},
		{"HISHAMOS_ANCHORS", "file:/a?outsid", "option outsid", "such as file:/mnt/"},
		{"HISHAMOS_ANCHORS", "git:/a?push=-f", "option push=-f", "such as file:/mnt/"},
		{"HISHAMOS_ANCHORS", "file:/a,file:/a", "named twice", "such as file:/mnt/"},
		{"HISHAMOS_ANCHORS", "kafka:hishamos.checkpoints", "part of this machine", "KAFKA_BROKERS"},
		{"HISHAMOS_CHECKPOINT_INTERVAL", "1ms", "that often", "100ms"},
		{"HISHAMOS_RELAY_LINGER", "2s", "too late", "10ms"},
		{"HISHAMOS_RELAY_LINGER", "-1ms", "before they are there", "10ms"},
		{"HISHAMOS_ENTIRELY_DIFFERENT", "4", "no such setting", "docs/reference/settings.md"},
	} {
		_, err := config.Load(minimal(tt.variable + "=" + tt.value))
		e, ok := errors.AsType[*domain.Error](err)
		if !ok {
			t.Errorf("%s=%s: got %v, want a *domain.Error", tt.variable, tt.value, err)
			continue
		}
		if e.Field != tt.variable || !strings.Contains(e.Message, tt.message) || !strings.Contains(e.Fix, tt.fix) || e.Kind != domain.Invalid {
			t.Errorf("%s=%s: got %v", tt.variable, tt.value, err)
		}
		if strings.Contains(err.Error(), "secretpw") {
			t.Errorf("%s: the error repeats a secret", tt.variable)
		}
	}
}

func TestAllWrongValuesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := config.Load(minimal("HISHAMOS_WORKERS=x", "HISHAMOS_EXPRESS=x", "HISHAMOS_NOTHING=1"))
	for _, name := range []string{"HISHAMOS_WORKERS", "HISHAMOS_EXPRESS", "HISHAMOS_NOTHING"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is missing in: %v", name, err)
		}
	}
}

func TestVariablesOfTestsAreNotRefused(t *testing.T) {
	t.Parallel()
	if _, err := config.Load(minimal("HISHAMOS_TEST_KAFKA=a:1")); err != nil {
		t.Fatal(err)
	}
}

func TestTheDataFolderFollowsTheStandardUnlessRoot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ []string
		want    string
	}{
		{[]string{"HOME=/h"}, "/h/.local/share/hishamos"},
		{[]string{"HOME=/h", "XDG_DATA_HOME=/x"}, "/x/hishamos"},
		{[]string{"HOME=/h", "XDG_DATA_HOME=relative"}, "/h/.local/share/hishamos"},
	} {
		if os.Geteuid() == 0 {
			tt.want = "/var/lib/hishamos"
		}
		c, err := config.Load(tt.environ)
		if err != nil || c.Data != tt.want {
			t.Errorf("%v: got %q %v, want %q", tt.environ, c.Data, err, tt.want)
		}
	}
}

func TestTheAddressOfTheServerFollowsTheAddressToListenAt(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", ":80": "http://127.0.0.1:80", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1",
		"[::1]:2": "http://[::1]:2", "host:3": "http://host:3",
	} {
		c, err := config.Load(minimal("HISHAMOS_LISTEN=" + listen))
		if err != nil || c.ServerURL() != want {
			t.Errorf("%s: got %s %v, want %s", listen, c.ServerURL(), err, want)
		}
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	t.Parallel()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[config.Config]()) {
		_, hasDefault := f.Tag.Lookup("envDefault")
		if f.Tag.Get("env") == "" || !strings.HasSuffix(f.Tag.Get("doc"), ".") || hasDefault == (f.Tag.Get("shown") != "") {
			t.Errorf("%s needs env, a sentence in doc, and either envDefault or shown", f.Name)
		}
	}
}

func TestTheReferencePageIsUpToDate(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "reference", "settings.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(config.Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Reference(), string(got)); diff != "" {
		t.Errorf("run go generate ./internal/config:\n%s", diff)
	}
}

func TestSpansGoToTheWholeAddressOrBelowTheBase(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ base, whole, want string }{
		{"", "", ""}, {"http://c:4318", "", "http://c:4318/v1/traces"}, {"http://c/x/", "", "http://c/x/v1/traces"}, {"http://c", "http://d/t", "http://d/t"},
	} {
		c, err := config.Load(minimal("OTEL_EXPORTER_OTLP_ENDPOINT="+tt.base, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+tt.whole))
		if err != nil || c.TraceAddress() != tt.want {
			t.Errorf("%v: got %q, %v", tt, c.TraceAddress(), err)
		}
	}
}

func TestTheWaysInAreCompleteAndKeepTheirSecrets(t *testing.T) {
	t.Parallel()
	for setting, environ := range map[string][]string{
		"HISHAMOS_TLS_KEY":        {"HISHAMOS_TLS_CERT=/cert.pem"},
		"HISHAMOS_TLS_CERT":       {"HISHAMOS_TLS_KEY=/key.pem"},
		"HISHAMOS_METRICS_LISTEN": {"HISHAMOS_METRICS_LISTEN=9090"},
		"HISHAMOS_METRICS_TOKEN":  {"HISHAMOS_METRICS_TOKEN=short"},
	} {
		_, err := config.Load(append(environ, "HOME=/home/ada"))
		e, ok := errors.AsType[*domain.Error](err)
		if !ok || e.Field != setting || e.Fix == "" || strings.Contains(err.Error(), "short") && !strings.Contains(err.Error(), "too short") {
			t.Errorf("%v: %v", environ, err)
		}
	}
	c, err := config.Load([]string{"HOME=/home/ada", "HISHAMOS_TLS_CERT=/c", "HISHAMOS_TLS_KEY=/k", "HISHAMOS_LISTEN=:8443"})
	if err != nil || c.ServerURL() != "https://127.0.0.1:8443" {
		t.Errorf("%s: %v", c.ServerURL(), err)
	}
}
