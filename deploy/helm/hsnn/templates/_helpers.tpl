{{/* Name of a role's objects; the argument is a list of the root context and the role. */}}
{{- define "hsnn.name" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%s" ($root.Release.Name | trunc 50 | trimSuffix "-") (index . 1) -}}
{{- end -}}

{{- define "hsnn.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: hsnn
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "hsnn.labels" -}}
{{- $root := index . 0 -}}
{{ include "hsnn.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* Metadata and specification of a role's pod; the arguments are the root context, the role, its command and its port. */}}
{{- define "hsnn.pod" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $port := index . 3 -}}
{{- $own := index $root.Values $role -}}
{{- $repository := and (eq $role "server") $root.Values.image.serverRepository | default $root.Values.image.repository -}}
metadata:
  labels:
    {{- include "hsnn.labels" . | nindent 4 }}
  annotations:
    # a changed configuration restarts the role
    checksum/config: {{ $root.Values.config | sha256sum }}
    {{- if $root.Values.scrape }}
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ $port | quote }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  # Kubernetes' own variables of services begin with the release's name: HSNN_SERVER_PORT would be taken for a key
  enableServiceLinks: false
  securityContext:
    # the image's user
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # the trainer writes a last checkpoint
  terminationGracePeriodSeconds: 60
  containers:
    - name: {{ $role }}
      image: "{{ $repository }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}"
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ index . 2 | quote }}, "--log-format", "json"]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - name: HSNN_CONFIG
          value: /etc/hsnn/hsnn.toml
        - name: HSNN_REDIS__URL
          valueFrom: {secretKeyRef: {name: {{ $root.Values.redis.secret }}, key: {{ $root.Values.redis.key }}}}
        - name: HSNN_STREAMING__LOG
          valueFrom: {secretKeyRef: {name: {{ $root.Values.log.secret }}, key: {{ $root.Values.log.key }}}}
        - name: HSNN_MONITORING__HOST
          value: 0.0.0.0
        # compiled kernels; the root file system is read-only
        - name: NUMBA_CACHE_DIR
          value: /tmp/numba
        {{- if eq $role "trainer" }}
        - name: HSNN_TRAINER__CHECKPOINT_DIR
          value: /var/lib/hsnn/checkpoints
        - name: HSNN_TRAINER__SERVER
          value: http://{{ include "hsnn.name" (list $root "server") }}:{{ $root.Values.server.service.port }}
        - name: HSNN_TRAINER__SERVER_TOKEN_ENV
          value: RETRIEVAL_TOKEN
        {{- else if eq $role "server" }}
        - name: HSNN_SERVING__HOST
          value: 0.0.0.0
        - name: HSNN_SERVING__TOKEN_ENV
          value: RETRIEVAL_TOKEN
        {{- end }}
        {{- if ne $role "scheduler" }}
        - name: RETRIEVAL_TOKEN
          valueFrom: {secretKeyRef: {name: {{ $root.Values.token.secret }}, key: {{ $root.Values.token.key }}}}
        {{- end }}
        {{- with $root.Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ $port }}
      startupProbe:
        httpGet: {path: /healthz/live, port: http}
        periodSeconds: 5
        failureThreshold: {{ div $root.Values.probes.startup 5 }}
      livenessProbe:
        httpGet: {path: /healthz/live, port: http}
        periodSeconds: {{ $root.Values.probes.period }}
        timeoutSeconds: 5
        failureThreshold: {{ $root.Values.probes.failures }}
      readinessProbe:
        httpGet: {path: /healthz/ready, port: http}
        periodSeconds: {{ $root.Values.probes.period }}
        timeoutSeconds: 5
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/hsnn
          readOnly: true
        - name: tmp
          mountPath: /tmp
        - name: data
          mountPath: /var/lib/hsnn
  volumes:
    - name: config
      configMap:
        name: {{ include "hsnn.name" (list $root "config") }}
    - name: tmp
      emptyDir: {}
    {{- if not (and (eq $role "trainer") $root.Values.trainer.persistence.enabled) }}
    - name: data
      emptyDir: {}
    {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
