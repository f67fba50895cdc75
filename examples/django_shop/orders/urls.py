"""The pages of the site."""

from django.urls import path

from . import views

urlpatterns = [path("", views.front), path("orders/<int:number>", views.order)]
