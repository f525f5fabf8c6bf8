#!/usr/bin/env bash
# Starts one real Apache Kafka broker (KRaft, single node, loopback only) for tests.
# The jars come from Maven Central; needs a JDK from 17 on, and mvn.
#
#   kafka.sh fetch|start|stop|status|clean
#
# then: HISHAMOS_TEST_KAFKA=127.0.0.1:9092 go test ./internal/log/... ./internal/relay/...
#
# Settings (environment):
#   KAFKA_VERSION=4.3.1  KAFKA_HOME=<dir for jars and data>  KAFKA_PORT=9092  KAFKA_HEAP=512m
set -euo pipefail

V=${KAFKA_VERSION:-4.3.1}
HOME_DIR=${KAFKA_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/hishamos-kafka}
PORT=${KAFKA_PORT:-9092}
HEAP=${KAFKA_HEAP:-512m}
LIBS=$HOME_DIR/libs-$V DATA=$HOME_DIR/data CONF=$HOME_DIR/server.properties
PID=$HOME_DIR/kafka.pid LOG=$HOME_DIR/kafka.log BOOT=127.0.0.1:$PORT

java_run() { java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$LIBS/*" "$@"; }
alive() { [ -s "$PID" ] && kill -0 "$(cat "$PID")" 2>/dev/null; }

fetch() {
  [ -f "$LIBS/.complete" ] && return
  local pom=$HOME_DIR/pom-$V
  mkdir -p "$pom" "$LIBS"
  cat >"$pom/pom.xml" <<X
<project><modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka-node</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$V</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$V</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
</dependencies></project>
X
  mvn -q -B -f "$pom/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$LIBS" -DincludeScope=runtime
  touch "$LIBS/.complete" # only a whole set of jars counts
}

format() {
  [ -f "$DATA/meta.properties" ] && return
  mkdir -p "$DATA"
  cat >"$CONF" <<X
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://$BOOT,CONTROLLER://127.0.0.1:$((PORT + 1))
advertised.listeners=PLAINTEXT://$BOOT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$((PORT + 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$DATA
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
X
  local id
  id=$(java_run kafka.tools.StorageTool random-uuid 2>/dev/null | tail -1)
  java_run kafka.tools.StorageTool format -t "$id" -c "$CONF" >>"$LOG" 2>&1
}

# Ready means a topic can be created and listed, not just that the port is open.
ready() {
  java_run org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOT" --create --if-not-exists --topic ready-check >/dev/null 2>&1 &&
    java_run org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOT" --list 2>/dev/null | grep -qx ready-check
}

start() {
  fetch
  alive && { echo "already running on $BOOT (pid $(cat "$PID"))"; return; }
  : >"$LOG"
  format
  setsid java -Xms"$HEAP" -Xmx"$HEAP" -XX:+UseG1GC -XX:TieredStopAtLevel="${KAFKA_TIERED:-4}" \
    -cp "$LIBS/*" kafka.Kafka "$CONF" >>"$LOG" 2>&1 </dev/null &
  echo $! >"$PID"
  for _ in $(seq 1 300); do
    alive || { echo "kafka died:"; tail -20 "$LOG"; rm -f "$PID"; exit 1; } >&2
    (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null && ready && { echo "ready on $BOOT (pid $(cat "$PID"))"; return; }
    sleep 0.1
  done
  echo "kafka not ready, see $LOG" >&2
  stop
  exit 1
}

stop() {
  alive || { rm -f "$PID"; return 0; }
  local p; p=$(cat "$PID")
  kill "$p" # SIGTERM: controlled shutdown
  for _ in $(seq 1 150); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$p" 2>/dev/null || true
  rm -f "$PID"
}

case ${1:-} in
  fetch | start | stop) "$1" ;;
  status) alive && echo "running (pid $(cat "$PID"))" || { echo stopped; exit 1; } ;;
  clean) stop; rm -rf "$DATA" ;;
  *) echo "usage: $0 fetch|start|stop|status|clean" >&2; exit 2 ;;
esac
