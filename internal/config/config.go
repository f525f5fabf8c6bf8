// Package config is every setting of the two programs: one struct, whose tags
// hold the variable, the default and one sentence of documentation. The
// reference page is written from it.
//
// It must not know what a setting is for, and imports domain and the parser of
// environment variables only. A new setting is one field of Config; a test
// fails until docs/reference/settings.md is written again (go generate).
//
// Start reading at Config, then Load; client.go is the file in which `hish`
// keeps its token.
package config

import (
	"log/slog"
	"net"
	"strings"
	"time"
)

//go:generate go test . -run TestTheReferencePageIsUpToDate -update

// Config is what the environment says. `env` is the variable, `envDefault` its
// default, `shown` the default as the reference page words it when it is
// computed, `example` what an error suggests where there is no default, `doc` the
// sentence of the reference page.
type Config struct {
	Data      string     `env:"HISHAMOS_DATA" shown:"~/.local/share/hishamos; for root /var/lib/hishamos" doc:"Folder that holds everything the program keeps: the embedded Postgres, the embedded log, keys, blobs."`
	Listen    string     `env:"HISHAMOS_LISTEN" envDefault:"127.0.0.1:8080" doc:"Address and port at which the API listens. Without TLS it must be on this machine, unless HISHAMOS_PLAINTEXT is on."`
	Plaintext Switch     `env:"HISHAMOS_PLAINTEXT" envDefault:"off" doc:"Whether the API may listen without TLS beyond this machine, as behind a proxy that ends TLS: on or off."`
	TLSCert   string     `env:"HISHAMOS_TLS_CERT" shown:"none: no TLS" doc:"File with the certificate chain of the API, as PEM; read again when it changes."`
	TLSKey    string     `env:"HISHAMOS_TLS_KEY" shown:"none: no TLS" doc:"File with the key of the certificate, as PEM."`
	URL       string     `env:"HISHAMOS_URL" shown:"http:// and HISHAMOS_LISTEN" doc:"Address at which clients reach the server."`
	Token     Secret     `env:"HISHAMOS_TOKEN" shown:"the file client.json" doc:"Token with which the client signs in."`
	LogLevel  slog.Level `env:"HISHAMOS_LOG_LEVEL" envDefault:"info" doc:"Least level of the program's own log: debug, info, warn or error."`
	LogFormat Format     `env:"HISHAMOS_LOG_FORMAT" envDefault:"json" doc:"Form of the program's own log: text or json."`
	Workers   int        `env:"HISHAMOS_WORKERS" envDefault:"8" min:"1" max:"10000" doc:"Steps that this process works on at the same time."`

	ShutdownGrace time.Duration `env:"HISHAMOS_SHUTDOWN_GRACE" envDefault:"20s" doc:"Time that running work gets to end after SIGTERM or Ctrl-C."`

	MetricsToken Secret `env:"HISHAMOS_METRICS_TOKEN" shown:"none" doc:"Secret with which /metrics may be read and nothing else, sent as a bearer token; at least 16 characters."`

	DatabaseURL Secret `env:"DATABASE_URL" shown:"the embedded Postgres" doc:"Postgres 15 or later to keep the events and read models in, by the login that owns the schema or one that is a member of hishamos_writer only."`
	ReaderURL   Secret `env:"HISHAMOS_READER_URL" shown:"a login made for it" doc:"The same database by a login that is a member of hishamos_reader only, for the queries of requests; needed when DATABASE_URL's login does not own the schema."`
	PostgresBin string `env:"HISHAMOS_POSTGRES_BIN" shown:"found on the machine, else fetched" doc:"Folder with the programs postgres and initdb for the embedded Postgres."`
	MavenURL    string `env:"HISHAMOS_MAVEN_URL" envDefault:"https://repo1.maven.org/maven2" doc:"Maven repository from which the embedded Postgres is fetched when the machine has none."`

	KeysURL  Secret `env:"HISHAMOS_KEYS_URL" shown:"files in HISHAMOS_DATA/keys" doc:"Postgres database to keep the encryption keys in; never the one of the events. It needs HISHAMOS_KEYS_ROOT."`
	KeysRoot Secret `env:"HISHAMOS_KEYS_ROOT" shown:"the file HISHAMOS_DATA/keys/root.key" doc:"Root key, 64 hex digits, that encrypts every other key; losing it loses all content."`

	Blobs         string `env:"HISHAMOS_BLOBS" shown:"the folder blobs in HISHAMOS_DATA" example:"s3://hishamos/blobs" doc:"Where uploaded files and large values are kept, encrypted: a folder that all processes share, or s3://BUCKET/PREFIX."`
	S3Endpoint    string `env:"HISHAMOS_S3_ENDPOINT" envDefault:"https://s3.amazonaws.com" doc:"Base address of the S3-compatible store of HISHAMOS_BLOBS."`
	S3Region      string `env:"HISHAMOS_S3_REGION" envDefault:"us-east-1" doc:"Region of the bucket."`
	S3Credentials string `env:"HISHAMOS_S3_CREDENTIALS" shown:"none" doc:"File with the access key of the bucket, in the form of ~/.aws/credentials, profile default."`

	ValueLimit   Bytes         `env:"HISHAMOS_VALUE_LIMIT" envDefault:"1MiB" min:"65536" max:"8388608" doc:"Largest input or result of a run; what does not fit into an event is kept as a blob, and more is refused with 413."`
	UploadLimit  Bytes         `env:"HISHAMOS_UPLOAD_LIMIT" envDefault:"10GB" min:"1" max:"137438953472" doc:"Largest file that may be uploaded; a larger one is refused with 413."`
	UploadQuota  Bytes         `env:"HISHAMOS_UPLOAD_QUOTA" envDefault:"100GB" min:"0" doc:"Bytes of files that one tenant may keep, unfinished uploads included; more is refused with 413."`
	UploadExpiry time.Duration `env:"HISHAMOS_UPLOAD_EXPIRY" envDefault:"24h" doc:"Time after which an upload that is not complete is given up."`
	BlobGrace    time.Duration `env:"HISHAMOS_BLOB_GRACE" envDefault:"24h" doc:"How old a blob that no event names must be before hishamos blobs sweep removes it; 1h or more."`
	FileExpiry   time.Duration `env:"HISHAMOS_FILE_EXPIRY" envDefault:"720h" doc:"Time after which a file that nothing ever referred to is erased; 0: never."`

	KafkaBrokers     []string      `env:"KAFKA_BROKERS" shown:"the embedded log" doc:"Kafka brokers to publish to, as host:port, separated by commas."`
	KafkaPartitions  int           `env:"HISHAMOS_KAFKA_PARTITIONS" shown:"16; embedded 4" min:"1" max:"1024" doc:"Partitions of each topic; fixed when the topics are made."`
	KafkaReplication int           `env:"HISHAMOS_KAFKA_REPLICATION" shown:"the brokers' default" min:"1" max:"15" doc:"Copies of each record on different brokers; fixed when the topics are made."`
	KafkaPrefix      TopicPrefix   `env:"HISHAMOS_KAFKA_PREFIX" shown:"none" doc:"Text before the name of every topic and consumer group, so that several logs can share a Kafka; it cannot be changed later."`
	LogRetain        Retain        `env:"HISHAMOS_LOG_RETAIN" envDefault:"256MB" doc:"How much of the embedded log stays on disk: a size, or all; the rest is read from Postgres."`
	Express          Switch        `env:"HISHAMOS_EXPRESS" envDefault:"on" doc:"Whether a process hands its own commits to its own reactions before Kafka does: on or off."`
	RelayLinger      time.Duration `env:"HISHAMOS_RELAY_LINGER" envDefault:"10ms" doc:"How long events gather under load before they go to Kafka, while the express lane is on: longer means less work, and later arrival at consumers. The first event after a pause goes at once, and fewer than 20 after three tenths of it. 0: not at all."`

	Anchors            Anchors       `env:"HISHAMOS_ANCHORS" shown:"none" example:"file:/mnt/audit/hishamos.checkpoints?outside" doc:"Places elsewhere that signed checkpoints of the log are brought to, separated by commas: file:PATH, git:PATH, kafka:TOPIC; ?outside behind one says that who runs this machine cannot change it, ?push=REMOTE behind git: where commits go."`
	CheckpointKey      string        `env:"HISHAMOS_CHECKPOINT_KEY" shown:"keys/checkpoint.key in HISHAMOS_DATA" doc:"File with the key that signs checkpoints; all processes with the role relay need the same one."`
	CheckpointEvery    int           `env:"HISHAMOS_CHECKPOINT_EVERY" envDefault:"1000" min:"1" max:"1000000" doc:"Events after which a checkpoint is made."`
	CheckpointInterval time.Duration `env:"HISHAMOS_CHECKPOINT_INTERVAL" envDefault:"10s" doc:"Time after which a checkpoint is made if there are new events."`

	TokenRequests   int   `env:"HISHAMOS_TOKEN_REQUESTS" envDefault:"1000" min:"0" max:"1000000" doc:"Requests a second that one token may make, averaged over ten seconds; further ones are refused with 429. 0: no limit."`
	TenantRequests  int   `env:"HISHAMOS_TENANT_REQUESTS" envDefault:"5000" min:"0" max:"1000000" doc:"Requests a second that one tenant may make, averaged over ten seconds. 0: no limit."`
	QueueLimit      int   `env:"HISHAMOS_QUEUE_LIMIT" envDefault:"4096" min:"1" max:"10000000" doc:"Commands that may wait to be committed; further ones are refused with 503."`
	TenantShare     int   `env:"HISHAMOS_TENANT_QUEUE_SHARE" envDefault:"50" min:"1" max:"100" doc:"Percent of the commands that wait which may be one tenant's; further ones of it are refused with 429."`
	TenantRate      int   `env:"HISHAMOS_TENANT_RATE" envDefault:"0" min:"0" max:"10000000" doc:"Commands a second that one tenant may send; further ones are refused with 429; 0: any number."`
	StreamRate      int   `env:"HISHAMOS_STREAM_RATE" envDefault:"200" min:"0" max:"10000000" doc:"Commands a second that may change one stream, such as a run; further ones are refused with 429; 0: any number."`
	EventLimit      int   `env:"HISHAMOS_EVENT_LIMIT" envDefault:"65536" min:"1024" max:"65536" doc:"Bytes of data that one event may carry; a request that leads to more is refused with 413."`
	AppendLimit     int   `env:"HISHAMOS_APPEND_LIMIT" envDefault:"1048576" min:"1024" max:"1048576" doc:"Bytes of data that the events of one command may carry together; more is refused with 413."`
	RelayLagLimit   int64 `env:"HISHAMOS_RELAY_LAG_LIMIT" envDefault:"1000000" min:"1" doc:"Events that may wait to be published; above it new work is refused with 503."`
	MinFreeDisk     Bytes `env:"HISHAMOS_MIN_FREE_DISK" envDefault:"512MB" doc:"Free disk space below which new work is refused with 503."`
	IdempotencyDays int   `env:"HISHAMOS_IDEMPOTENCY_DAYS" envDefault:"7" min:"7" max:"3650" doc:"Days for which a repeated Idempotency-Key gets the first answer again."`

	OpenAIKey     Secret `env:"OPENAI_API_KEY" shown:"none: models are simulated" doc:"Key of an OpenAI-compatible provider."`
	OpenAIBaseURL string `env:"OPENAI_BASE_URL" envDefault:"https://api.openai.com/v1" doc:"Base address of the OpenAI-compatible provider."`
	Model         string `env:"HISHAMOS_MODEL" envDefault:"gpt-4.1-mini" doc:"Model that answers for an agent that names none."`

	MetricsListen string `env:"HISHAMOS_METRICS_LISTEN" shown:"none" doc:"Address and port at which any process serves GET /metrics without a token, for a private network. The API serves its own besides."`

	TraceURL     string  `env:"OTEL_EXPORTER_OTLP_ENDPOINT" shown:"none: no traces" doc:"Base address of an OpenTelemetry collector; spans go to its /v1/traces. The other OTEL_EXPORTER_OTLP_ variables of the standard hold too."`
	TraceOnlyURL string  `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" shown:"OTEL_EXPORTER_OTLP_ENDPOINT" doc:"Whole address to which spans go."`
	TraceForm    string  `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" doc:"Protocol towards the collector; there is only http/protobuf."`
	TraceHeaders Secret  `env:"OTEL_EXPORTER_OTLP_HEADERS" shown:"none" doc:"Headers sent to the collector, as name=value, separated by commas."`
	TraceSampler Sampler `env:"OTEL_TRACES_SAMPLER" envDefault:"parentbased_traceidratio" doc:"Which traces are kept: always_on, always_off or traceidratio; with parentbased_ before it, callers decide for theirs."`
	TraceRatio   Ratio   `env:"OTEL_TRACES_SAMPLER_ARG" envDefault:"1" doc:"Share of traces that traceidratio keeps, from 0 to 1."`
	TraceService string  `env:"OTEL_SERVICE_NAME" envDefault:"hishamos" doc:"Name of the service in traces."`
}

// Partitions of a topic when nothing is set: more cost throughput on few cores.
const (
	clusterPartitions  = 16
	embeddedPartitions = 4
)

// EmbeddedPostgres reports whether the program runs its own Postgres.
func (c Config) EmbeddedPostgres() bool { return !c.DatabaseURL.Set() }

// EmbeddedLog reports whether the program runs its own Kafka-protocol broker.
func (c Config) EmbeddedLog() bool { return len(c.KafkaBrokers) == 0 }

// BlobBucket returns the bucket that HISHAMOS_BLOBS names, with what to put before
// the name of every object, which may be nothing. Load has checked its form.
func (c Config) BlobBucket() (bucket, prefix string, ok bool) {
	rest, ok := strings.CutPrefix(c.Blobs, "s3://")
	bucket, prefix, _ = strings.Cut(rest, "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return bucket, prefix, ok
}

// TraceAddress is the whole address to which spans go; empty: none are made.
func (c Config) TraceAddress() string {
	if c.TraceOnlyURL != "" || c.TraceURL == "" {
		return c.TraceOnlyURL
	}
	return strings.TrimRight(c.TraceURL, "/") + "/v1/traces"
}

// ServerURL is the address at which clients reach the server, without a slash
// at its end: HISHAMOS_URL, or one made from the address to listen at.
func (c Config) ServerURL() string {
	if c.URL != "" {
		return c.URL
	}
	scheme := "http://"
	if c.TLS() {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil { // Load refuses it
		return scheme + c.Listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}
