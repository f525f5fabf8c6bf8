// Package hishamos holds no code. It states which package may import which, and
// which library may be used where; arch_test.go reads the tables below and
// fails with who imports whom and why not.
//
// # Packages
//
// A row says what a package may import of this module. `x/...` stands for the
// packages below x, the most precise row counts, and packages below the same
// internal/<name> may import each other. Tests and test kits (packages that end in
// "test") may import anything; only they import test kits.
//
//	domain                        → nothing | it is the vocabulary: no database, no network, no clock
//	domain/expr                   → domain | an expression sees values, never an event or a command
//	domain/...                    → commands, domain, domain/expr, events | a decider knows neither store nor log, and never another aggregate
//	events                        → domain | facts carry no behaviour
//	commands                      → domain | a request knows no state
//	api                           → api/v1, commands, domain, events, internal/auth, internal/failpoint, internal/live, internal/telemetry, library, projections | an endpoint cannot bypass the decider, so it sees no event store
//	api/v1                        → domain | the shapes of requests and answers are shared with clients
//	handlers                      → commands, domain, events, internal/lease, internal/reaction, internal/timer | a reaction changes things only by issuing commands, offering work and setting timers
//	library                       → domain | it is data, edited by people who do not program
//	migrations                    → nothing | it is DDL
//	projections                   → domain, events, internal/pg, internal/projection | a projection cannot decide
//	internal/agentloop            → commands, domain, internal/llm, internal/schema, library | it performs one step and knows no run's state
//	internal/anchor               → internal/checkpoint, internal/log | it keeps checkpoints and judges none
//	internal/auth                 → domain
//	internal/bench                → api/v1, domain, internal/eventstore, internal/eventstore/postgres, internal/pg, sdk/go | it measures from outside, and starts nothing
//	internal/blob/...             → domain | it keeps ciphertext and knows no key store
//	internal/checker              → nothing | it judges from outside, and shares no code with what it judges
//	internal/checkpoint           → domain, events, internal/pg | it sees leaves and hashes, never what an event means
//	internal/config               → domain
//	internal/dispatch             → commands, domain, events, internal/eventstore, internal/failpoint | deciders come to it as values
//	internal/embedded             → domain, internal/failpoint | it starts programs and knows no contract
//	internal/eventstore           → domain, events
//	internal/eventstore/postgres  → domain, events, internal/failpoint, internal/pg
//	internal/eventstore/...       → domain, events
//	internal/failpoint            → nothing | it marks places, and knows none of them
//	internal/freeport             → nothing | for tests and what runs them
//	internal/generate             → everything | a tool for developers, in no program
//	internal/keys                 → domain, events | it seals values and knows no meaning
//	internal/keys/postgres        → domain, internal/pg
//	internal/keys/...             → domain
//	internal/lease                → domain
//	internal/liblint              → domain, internal/schema, library | it judges the library, which cannot judge itself
//	internal/live                 → domain, events, internal/eventstore
//	internal/llm/...              → domain
//	internal/lock                 → nothing
//	internal/log/...              → domain, events
//	internal/output/...           → api/v1, domain | it turns answers into text, on either side of the API
//	internal/pg                   → domain, migrations
//	internal/projection/...       → domain, events, internal/eventstore, internal/failpoint, internal/log, internal/pg
//	internal/reaction             → commands, domain, events, internal/eventstore, internal/failpoint, internal/log, internal/pg
//	internal/relay                → domain, events, internal/eventstore, internal/failpoint, internal/log
//	internal/schema               → domain
//	internal/sim                  → nothing | it is a scheduler and faults; deciders and projectors come to it as values
//	internal/telemetry            → domain, events
//	internal/telemetry/tracing    → commands, domain, events, internal/eventstore, internal/lease, internal/llm, internal/log, internal/reaction | it wraps the parts it is given, and none knows it
//	internal/testenv              → internal/embedded, internal/freeport | a tool for developers, in no program
//	internal/timer                → domain
//	internal/upload               → domain, internal/blob, internal/pg | it keeps parts and knows no decider
//	internal/watch                → api/v1, internal/output/plain, sdk/go | it shows what the API answers
//	internal/worker               → commands, domain, internal/failpoint, internal/lease, internal/pg, internal/telemetry
//	sdk/go                        → api/v1 | it speaks HTTP; what it shows to others' programs is not internal
//	cmd/hish                      → api/v1, domain, internal/auth, internal/config, internal/output/markdown, internal/output/plain, internal/watch, sdk/go | the client speaks HTTP and links no part of the server
//	cmd/hishamos                  → everything | it is the composition root, the only place that names adapters
//
// # Pools
//
// A row says which packages may hold a pool of internal/pg; a test reads it too.
// Nobody else names pgxpool. All that answers a request holds a Reader, whose
// queries see the rows of one tenant; Everyone is asked for by name, in the files
// that the test lists.
//
//	pg.Owner    by cmd/hishamos, internal/keys/postgres | to migrate, and closed before anything else is opened; the key store owns the one table of its database
//	pg.Reader   by cmd/hishamos, internal/eventstore/postgres | what requests ask
//	pg.Scope    by internal/eventstore/postgres | a Reader as one tenant
//	pg.Writer   by cmd/hishamos, internal/checkpoint, internal/eventstore/postgres, internal/projection/postgres, internal/reaction, internal/upload, internal/worker | appender, relay, runners, verify
//
// # Libraries
//
// A row says which packages may use a library. cmd/hishamos may use all but those
// for tests; tests and test kits may use any.
//
//	cel.dev/cel-go                                in domain/expr
//	github.com/IBM/sarama                         in internal/bench, internal/checker, internal/log/kafka
//	github.com/ThreeDotsLabs/watermill            in internal/reaction
//	github.com/ThreeDotsLabs/watermill-kafka/v3   in cmd/hishamos
//	github.com/anishathalye/porcupine             in tests
//	github.com/caarlos0/env/v11                   in internal/config
//	github.com/compose-spec/compose-go/v2         in tests
//	github.com/danielgtaylor/huma/v2              in api
//	github.com/gin-gonic/gin                      in api
//	github.com/go-json-experiment/json            in events, internal/worker
//	github.com/goccy/go-yaml                      in cmd/hish, internal/generate, library
//	github.com/google/go-cmp                      in tests
//	github.com/google/jsonschema-go               in internal/generate
//	github.com/google/uuid                        in api, internal/bench, internal/eventstore/postgres, sdk/go
//	github.com/jackc/pgx/v5                       in internal/bench, internal/checker, internal/checkpoint, internal/embedded, internal/eventstore/postgres, internal/keys/postgres, internal/lock, internal/pg, internal/projection/postgres, internal/reaction, internal/upload, internal/worker, projections
//	github.com/jedib0t/go-pretty/v6               in cmd/hish, internal/watch
//	github.com/johannesboyne/gofakes3             in tests
//	github.com/kljensen/snowball                  in library
//	github.com/minio/minio-go/v7                  in internal/blob/s3
//	github.com/pressly/goose/v3                   in internal/pg
//	github.com/prometheus/client_golang           in internal/telemetry
//	github.com/prometheus/common                  in internal/bench
//	github.com/rogpeppe/go-internal               in tests
//	github.com/santhosh-tekuri/jsonschema/v6      in internal/schema
//	github.com/sashabaranov/go-openai             in internal/llm/openai
//	github.com/spf13/cobra                        in cmd/hish
//	github.com/transparency-dev/merkle            in internal/checkpoint
//	github.com/twmb/franz-go                      in tests
//	github.com/twmb/franz-go/pkg/kfake            in internal/embedded
//	github.com/twmb/franz-go/pkg/kmsg             in tests
//	github.com/ulikunitz/xz                       in internal/embedded
//	go.opentelemetry.io/otel                      in internal/telemetry, internal/telemetry/tracing
//	go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp in internal/telemetry/tracing
//	go.opentelemetry.io/otel/sdk                  in internal/telemetry/tracing
//	go.opentelemetry.io/otel/trace                in internal/telemetry, internal/telemetry/tracing
//	go.opentelemetry.io/proto/otlp                in tests
//	go.uber.org/goleak                            in tests
//	golang.org/x/mod                              in internal/checkpoint
//	golang.org/x/term                             in cmd/hish
//	golang.org/x/time                             in api
//	google.golang.org/protobuf                    in tests
//	pgregory.net/rapid                            in tests
package hishamos
