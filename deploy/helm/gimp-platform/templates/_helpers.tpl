{{- define "gimp.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "gimp.labels" -}}
app.kubernetes.io/part-of: gimp-platform
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Of the server's pod; never changes. */}}
{{- define "gimp.server" -}}
app.kubernetes.io/name: gimp-platform
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gimp.image" -}}
{{ .image.repository }}:{{ .image.tag | default .chart.AppVersion }}
{{- end }}

{{- /* A value as TOML on one line. Helm's own toToml makes 5.0 of 5. */}}
{{- define "gimp.toml" -}}
{{- if kindIs "map" . -}}
{ {{- range $at, $key := keys . | sortAlpha }}{{ if $at }}, {{ end }}{{ $key | quote }} = {{ include "gimp.toml" (get $ $key) }}{{ end -}} }
{{- else if kindIs "slice" . -}}
[ {{- range $at, $value := . }}{{ if $at }}, {{ end }}{{ include "gimp.toml" $value }}{{ end -}} ]
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end }}

{{- define "gimp.priority.session" -}}{{ include "gimp.name" . }}-session{{- end }}
{{- define "gimp.priority.placeholder" -}}{{ include "gimp.name" . }}-placeholder{{- end }}

{{- define "gimp.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* What the profile restricted of the Pod Security Standards asks, and a root that can't be written to. */}}
{{- define "gimp.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "gimp.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A pod on the sessions' machines that does nothing but be there. */}}
{{- define "gimp.idle" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 0
securityContext:
  {{- include "gimp.podSecurity" . | nindent 2 }}
{{- include "gimp.pullSecrets" . }}
nodeSelector:
  {{- merge dict .Values.sessions.nodeSelector (dict "kubernetes.io/os" "linux") | toYaml | nindent 2 }}
{{- with .Values.sessions.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.sessions.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.sessions.runtimeClass }}
runtimeClassName: {{ . }}
{{- end }}
{{- end }}
