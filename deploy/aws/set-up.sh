#!/usr/bin/env bash
# What cluster.yaml needs, made once: roles, instance profiles, security group, registry. It ends with the lines to put there.
# Usage: deploy/aws/set-up.sh REGION BUCKET YOUR_ADDRESS, for example us-east-1 my-runs 198.51.100.7
# Run by someone who may make roles; `aws sts get-caller-identity` tells who you are.
set -euo pipefail
region=$1 bucket=$2 address=$3
here=$(cd "$(dirname "$0")" && pwd)

for role in flowerti-head flowerti-worker; do
  aws iam create-role --role-name "$role" --assume-role-policy-document "file://$here/trust.json" > /dev/null
  aws iam put-role-policy --role-name "$role" --policy-name bucket-and-registry \
    --policy-document "$(sed "s/your-bucket/$bucket/g" "$here/node-policy.json")"
  aws iam create-instance-profile --instance-profile-name "$role" > /dev/null
  aws iam add-role-to-instance-profile --instance-profile-name "$role" --role-name "$role"
done
aws iam put-role-policy --role-name flowerti-head --policy-name autoscaler \
  --policy-document "file://$here/head-policy.json"

# spot machines need a role of their own, which an account that has ever had one has already
aws iam get-role --role-name AWSServiceRoleForEC2Spot > /dev/null 2>&1 \
  || aws iam create-service-linked-role --aws-service-name spot.amazonaws.com > /dev/null

vpc=$(aws ec2 describe-vpcs --region "$region" --filters Name=is-default,Values=true \
  --query 'Vpcs[0].VpcId' --output text)
group=$(aws ec2 create-security-group --region "$region" --group-name flowerti --vpc-id "$vpc" \
  --description "Ray cluster of flowerti" --query GroupId --output text)
# nodes reach each other on every port, your address reaches ssh, and nobody else reaches anything
aws ec2 authorize-security-group-ingress --region "$region" --group-id "$group" --protocol=-1 --source-group "$group" > /dev/null
aws ec2 authorize-security-group-ingress --region "$region" --group-id "$group" --protocol tcp --port 22 \
  --cidr "$address/32" > /dev/null

registry=$(aws ecr create-repository --region "$region" --repository-name flowerti \
  --query repository.repositoryUri --output text)
machine_image=$(aws ssm get-parameter --region "$region" --query Parameter.Value --output text \
  --name /aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id)

echo "put into cluster.yaml:"
echo "  region: $region"
echo "  SecurityGroupIds: [$group]"
echo "  ImageId: $machine_image"
echo "  image: $registry:0.1.0"
