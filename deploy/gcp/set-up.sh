#!/usr/bin/env bash
# What deploy/cluster-gcp.yaml needs, made once: service accounts and their roles, network, NAT, ssh through Google's proxy,
# registry. It ends with the lines to put there. Usage: deploy/gcp/set-up.sh PROJECT REGION BUCKET
set -euo pipefail
project=$1 region=$2 bucket=$3
export CLOUDSDK_CORE_PROJECT=$project CLOUDSDK_CORE_DISABLE_PROMPTS=1

gcloud services enable artifactregistry.googleapis.com cloudresourcemanager.googleapis.com compute.googleapis.com \
  iam.googleapis.com iap.googleapis.com

domain=$project.iam.gserviceaccount.com
for account in flowerti-head flowerti-worker; do
  gcloud iam service-accounts create "$account"
  # the bucket's own entry is asked for as well, which the role for objects leaves out
  for role in roles/storage.objectUser roles/storage.legacyBucketReader; do
    gcloud storage buckets add-iam-policy-binding "gs://$bucket" --member "serviceAccount:$account@$domain" --role "$role"
  done
  gcloud projects add-iam-policy-binding "$project" --condition None \
    --member "serviceAccount:$account@$domain" --role roles/artifactregistry.reader
done
# the head starts and ends machines, and may give them the workers' account and no other
gcloud projects add-iam-policy-binding "$project" --condition None \
  --member "serviceAccount:flowerti-head@$domain" --role roles/compute.instanceAdmin.v1
gcloud iam service-accounts add-iam-policy-binding "flowerti-worker@$domain" \
  --member "serviceAccount:flowerti-head@$domain" --role roles/iam.serviceAccountUser

gcloud compute networks create flowerti --subnet-mode custom
gcloud compute networks subnets create flowerti --network flowerti --region "$region" --range 10.10.0.0/20 \
  --enable-private-ip-google-access
gcloud compute firewall-rules create flowerti-inside --network flowerti --source-ranges 10.10.0.0/20 --allow tcp,udp,icmp
# ssh comes from Google's identity-aware proxy alone
gcloud compute firewall-rules create flowerti-ssh --network flowerti --source-ranges 35.235.240.0/20 --allow tcp:22
# nodes have no address on the internet: what is not Google's own they reach through this
gcloud compute routers create flowerti --network flowerti --region "$region"
gcloud compute routers nats create flowerti --router flowerti --region "$region" --nat-all-subnet-ip-ranges \
  --auto-allocate-nat-external-ips

gcloud artifacts repositories create flowerti --repository-format docker --location "$region"
machine_image=$(gcloud compute images describe-from-family common-cu129-ubuntu-2204-nvidia-580 \
  --project deeplearning-platform-release --format 'value(name)')

echo "put into deploy/cluster-gcp.yaml:"
echo "  project_id: $project"
echo "  region: $region"
echo "  sourceImage: projects/deeplearning-platform-release/global/images/$machine_image"
echo "  image: $region-docker.pkg.dev/$project/flowerti/flowerti:0.1.0"
