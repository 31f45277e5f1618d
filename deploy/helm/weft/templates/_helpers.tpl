{{- define "weft.name" -}}
{{- if eq .Release.Name "weft" }}weft{{ else }}{{ printf "%s-weft" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "weft.labels" -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Labels by which the pods of one part are found: list root part */}}
{{- define "weft.selector" -}}
app.kubernetes.io/part-of: weft
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/name: {{ index . 1 }}
{{- end }}

{{- define "weft.image" -}}
{{- $root := index . 0 -}}
{{ $root.Values.image.registry }}/{{ index . 1 }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- /* Metadata of the pods of one part. */}}
{{- define "weft.podMeta" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "weft.selector" . | nindent 2 }}
  {{- if eq $root.Values.identity.kind "spire" }}
  spiffe.io/spiffe-id: "true"
  {{- end }}
{{- end }}

{{- define "weft.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- /* Who this part is: its environment. list root serviceAccount perNode */}}
{{- define "weft.identityEnv" -}}
{{- $root := index . 0 -}}
{{- $account := index . 1 -}}
{{- $perNode := index . 2 -}}
{{- $kind := $root.Values.identity.kind -}}
{{- if eq $kind "insecure" }}
- {name: WEFT_INSECURE, value: "true"}
{{- else if eq $kind "spire" }}
- {name: SPIFFE_ENDPOINT_SOCKET, value: "unix://{{ $root.Values.identity.spire.socketFolder }}/agent.sock"}
{{- else if eq $kind "files" }}
- {name: WEFT_TLS_CERT, value: /etc/weft/identity/tls.crt}
- {name: WEFT_TLS_KEY, value: /etc/weft/identity/tls.key}
- {name: WEFT_TLS_BUNDLE, value: /etc/weft/identity/bundle.pem}
{{- else }}
- {name: WEFT_CA_URL, value: "tcp://{{ include "weft.name" $root }}-ca.{{ $root.Release.Namespace }}.svc:5010"}
- {name: WEFT_CA_ROOT, valueFrom: {configMapKeyRef: {name: {{ include "weft.name" $root }}-ca, key: root}}}
- {name: WEFT_JOIN_TOKEN_FILE, value: /var/run/secrets/weft/token}
{{- /* The same after a restart, so that what it made before stays its own. From 1.30 on tokens tell the node. */}}
{{- $id := printf "spiffe://%s/ns/%s/sa/%s" $root.Values.identity.trustDomain $root.Release.Namespace $account }}
{{- if and $perNode (semverCompare ">=1.30.0-0" $root.Capabilities.KubeVersion.Version) }}
- {name: WEFT_SPIFFE_ID, value: "{{ $id }}/node/$(NODE_NAME)"}
{{- else }}
- {name: WEFT_SPIFFE_ID, value: "{{ $id }}"}
{{- end }}
{{- end }}
{{- end }}

{{- /* Who may see and inspect everything: agents tell what pods have, and answer `weft cluster why`. */}}
{{- define "weft.operatorsEnv" -}}
{{- $all := .Values.identity.operators }}
{{- if eq .Values.identity.kind "ca" }}
{{- $agent := printf "spiffe://%s/ns/%s/sa/%s-agent" .Values.identity.trustDomain .Release.Namespace (include "weft.name" .) }}
{{- $all = concat (list $agent (printf "%s/*" $agent)) $all }}
{{- end }}
{{- with $all }}
- {name: WEFT_OPERATORS, value: {{ join "," . | quote }}}
{{- end }}
{{- end }}

{{- define "weft.identityMounts" -}}
{{- if eq .Values.identity.kind "spire" }}
- {name: identity, mountPath: {{ .Values.identity.spire.socketFolder }}, readOnly: true}
{{- else if eq .Values.identity.kind "files" }}
- {name: identity, mountPath: /etc/weft/identity, readOnly: true}
{{- else if eq .Values.identity.kind "ca" }}
- {name: identity, mountPath: /var/run/secrets/weft, readOnly: true}
{{- end }}
{{- end }}

{{- define "weft.identityVolumes" -}}
{{- if eq .Values.identity.kind "spire" }}
- {name: identity, hostPath: {path: {{ .Values.identity.spire.socketFolder }}, type: Directory}}
{{- else if eq .Values.identity.kind "files" }}
- {name: identity, secret: {secretName: {{ .Values.identity.files.secret }}, defaultMode: 0440}}
{{- else if eq .Values.identity.kind "ca" }}
- name: identity
  projected: {sources: [{serviceAccountToken: {path: token, audience: weft, expirationSeconds: 3600}}]}
{{- end }}
{{- end }}

{{- /* A token for the API server: only the parts that ask it have one. */}}
{{- define "weft.apiVolume" -}}
- name: api
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "weft.apiMount" -}}
- {name: api, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- define "weft.downwardEnv" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: NODE_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
- {name: NSM_LOG_LEVEL, value: {{ .Values.logLevel }}}
{{- end }}

{{- /* Metrics: list root port */}}
{{- define "weft.metricsEnv" -}}
{{- if (index . 0).Values.metrics.enabled }}
- {name: PROMETHEUS, value: "true"}
- {name: PROMETHEUS_LISTEN_ON, value: ":{{ index . 1 }}"}
{{- end }}
{{- end }}

{{- define "weft.metricsPort" -}}
{{- if (index . 0).Values.metrics.enabled }}
- {name: metrics, containerPort: {{ index . 1 }}}
{{- end }}
{{- end }}

{{- /* Probes over HTTP: list root host port startSeconds; host empty = the pod's address */}}
{{- define "weft.probes" -}}
{{- $host := index . 1 -}}
{{- $port := index . 2 -}}
startupProbe:
  httpGet: {path: /readyz, port: {{ $port }}{{ with $host }}, host: {{ . }}{{ end }}}
  periodSeconds: 1
  failureThreshold: {{ index . 3 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ $port }}{{ with $host }}, host: {{ . }}{{ end }}}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /livez, port: {{ $port }}{{ with $host }}, host: {{ . }}{{ end }}}
  periodSeconds: 10
  failureThreshold: 6
{{- end }}

{{- /* Memory of the packet core: the forwarder's, and huge pages for DPDK. */}}
{{- define "weft.forwarderResources" -}}
{{- $resources := deepCopy .Values.forwarder.resources }}
{{- range $size, $amount := .Values.forwarder.hugepages }}
{{- $_ := set $resources "limits" (set ($resources.limits | default dict) $size $amount) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{- /* For the parts that need nothing of their node. */}}
{{- define "weft.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "weft.spread" -}}
{{- $root := index . 0 -}}
nodeSelector: {{ toJson $root.Values.controlPlane.nodeSelector }}
tolerations: {{ toJson $root.Values.controlPlane.tolerations }}
{{- with $root.Values.controlPlane.affinity }}
affinity: {{ toJson . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "weft.selector" . | nindent 8 }}
{{- end }}

{{- /* A workload of ours in this namespace: its identity is that of its pod. */}}
{{- define "weft.workloadIdentityEnv" -}}
{{- range $env := include "weft.identityEnv" (list . "default" false) | fromYamlArray }}
{{- if ne $env.name "WEFT_SPIFFE_ID" }}
- {{ toJson $env }}
{{- end }}
{{- end }}
{{- end }}
