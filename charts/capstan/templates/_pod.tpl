{{- /* A component's pods; in: root, component, settings (its values), args (YAML), ports (YAML). */ -}}
{{- define "capstan.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "capstan.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: operator
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "capstan.fullname" .root }}-{{ .component }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  containers:
  - name: operator
    image: {{ include "capstan.image" (dict "image" $values.image "root" .root) }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args:
    - --components={{ .component }}
    {{- .args | nindent 4 }}
    {{- with $values.watchNamespaces }}
    - --namespaces={{ join "," . }}
    {{- end }}
    env:
    - name: POD_NAMESPACE
      valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
    - name: POD_NAME
      valueFrom: { fieldRef: { fieldPath: metadata.name } }
    - name: CAPSTAN_LOG
      value: {{ $values.logLevel }}
    ports:
    {{- with .ports }}
    {{- . | nindent 4 }}
    {{- end }}
    - name: capstan-metrics
      containerPort: 8080
      protocol: TCP
    startupProbe:
      httpGet: { path: /healthz, port: capstan-metrics }
      periodSeconds: 1
      failureThreshold: 60
    livenessProbe:
      httpGet: { path: /healthz, port: capstan-metrics }
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: { path: /readyz, port: capstan-metrics }
      periodSeconds: 3
      timeoutSeconds: 3
    resources:
      {{- toYaml .settings.resources | nindent 6 }}
    securityContext:
      {{- toYaml $values.securityContext | nindent 6 }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
  {{- if $values.topologySpreadConstraints }}
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "capstan.selectorLabels" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- /* What both components have beside their pods; in: root, component, settings. */ -}}
{{- define "capstan.companions" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "capstan.componentMetadata" . | nindent 2 }}
  {{- with .settings.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- if .settings.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "capstan.componentMetadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .settings.podDisruptionBudget.maxUnavailable }}
  # A replica that does not work anyway must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "capstan.selectorLabels" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
{{- end }}
---
# Headless: each replica is found, and scraped, by itself.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "capstan.fullname" .root }}-{{ .component }}-metrics
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "capstan.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    capstan.dev/metrics: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "capstan.selectorLabels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  ports:
  - name: capstan-metrics
    port: 8080
    targetPort: capstan-metrics
    protocol: TCP
{{- end -}}
