{{- define "pgdoctor.name" -}}
{{- if contains "pgdoctor" .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-pgdoctor" (.Release.Name | trunc 43 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{- define "pgdoctor.selector" -}}
app.kubernetes.io/name: pgdoctor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pgdoctor.labels" -}}
{{ include "pgdoctor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pgdoctor.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pgdoctor.scheme" -}}
{{ ternary "https" "http" (not (empty .Values.http.tlsSecret.name)) }}
{{- end -}}

{{/* Keys of [http] that the Secrets of the values need, one a line. */}}
{{- define "pgdoctor.httpKeys" -}}
{{- with .Values.http.tokenSecret }}{{ if .name }}
token_file = "/run/secrets/token/{{ .key }}"
{{- end }}{{ end }}
{{- with .Values.http.tlsSecret }}{{ if .name }}
tls_certificate = "/run/secrets/tls/tls.crt"
tls_key = "/run/secrets/tls/tls.key"
{{- end }}{{ end }}
{{- end -}}

{{/* The configuration, with a table [http] for the Secrets where it has none. */}}
{{- define "pgdoctor.config" -}}
{{ .Values.config | trimSuffix "\n" }}
{{- if and (include "pgdoctor.httpKeys" .) (not (regexMatch "(?m)^\\s*\\[http\\]" .Values.config)) }}

[http]
{{- include "pgdoctor.httpKeys" . }}
{{- end }}
{{ end -}}

{{/* Values that contradict each other: one line each, before anything is made. */}}
{{- define "pgdoctor.check" -}}
{{- if not .Values.server.host -}}
{{- fail "server.host is missing: the address of the PostgreSQL server" -}}
{{- end -}}
{{- if not (regexMatch "^([A-Za-z0-9._,-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$" .Values.server.host) -}}
{{- fail (printf "server.host is no address: %q; it has no port, blank or URL" .Values.server.host) -}}
{{- end -}}
{{- if and (not .Values.server.password) (not .Values.server.passwordSecret.name) -}}
{{- fail "server.passwordSecret.name is missing: a Secret with the password of the role (or server.password, to try it out)" -}}
{{- end -}}
{{- if and .Values.server.password .Values.server.passwordSecret.name -}}
{{- fail "server.password and server.passwordSecret.name are both set: keep one" -}}
{{- end -}}
{{- if regexMatch "[\\r\\n]" .Values.server.password -}}
{{- fail "server.password has more than one line" -}}
{{- end -}}
{{- if and (hasPrefix "verify-" .Values.server.sslmode) (not .Values.server.sslRootCertificate.secret) -}}
{{- fail (printf "server.sslmode %s needs server.sslRootCertificate.secret: a Secret with the authority's certificate" .Values.server.sslmode) -}}
{{- end -}}
{{- if regexMatch "(?m)^\\s*\\[http\\]" .Values.config -}}
{{- range include "pgdoctor.httpKeys" . | trim | splitList "\n" -}}
{{- if not (contains . $.Values.config) -}}
{{- fail (printf "config has a table [http] without the file of a Secret: add %s there" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.journal.persistence.existingClaim (not .Values.journal.persistence.enabled) -}}
{{- fail "journal.persistence.existingClaim is set, but journal.persistence.enabled is false" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if regexMatch "^(PG(HOST|PORT|DATABASE|USER|PASSWORD|SSLMODE|SSLROOTCERT)|PGDOCTOR_(CONFIG|LISTEN)|POD_NAMESPACE)$" .name -}}
{{- fail (printf "extraEnv sets %s, which the chart sets: use its own value" .name) -}}
{{- end -}}
{{- end -}}
{{- range $label, $_ := .Values.podLabels -}}
{{- if has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance") -}}
{{- fail (printf "podLabels sets %s, by which the chart finds its pod" $label) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.enforce (not .Values.journal.persistence.enabled) -}}
{{- fail "enforce needs journal.persistence.enabled: without a volume that survives the pod, budgets and brakes would start anew" -}}
{{- end -}}
{{- if and (not .Values.enforce) (regexMatch "(?m)^\\s*mode\\s*=\\s*[\"']enforce[\"']" .Values.config) -}}
{{- fail "config says mode = \"enforce\", but enforce is false: set both to act, or mode = \"dry_run\"" -}}
{{- end -}}
{{- end -}}
